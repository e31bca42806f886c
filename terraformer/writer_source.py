"""What a writing model reads of a document, and what of it is left unread."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from terraformer.tokenizer import EOS_ID, TokenizedDocument

if TYPE_CHECKING:
    from terraformer.document import Document
    from terraformer.extractor import Extractor
    from terraformer.summary import Length

_MIN_EXTRACTED = 128  # tokens: of less, a model that has learned to leave out makes fragments


@dataclass(frozen=True)
class WriterSource:
    """The source of a written summary.

    Attributes:
        ids: [1, S], int64, end-of-sequence last, as in training.
        begins: Whether each token begins a sentence, [S].
        notes: What of the document is not in it.
        n_words: Words that the summary is to have; None where the model decides.
    """

    ids: Tensor
    begins: NDArray[np.bool_]
    notes: tuple[str, ...] = ()
    n_words: int | None = None


def whole_source(
    document: Document, tokenized: TokenizedDocument, limit: int | None
) -> WriterSource:
    """Returns all of a document or, where that is longer than `limit`, its first sentences.

    Args:
        document: What is summarized.
        tokenized: Its tokens.
        limit: Most tokens, end-of-sequence among them; None for any number.
    """
    if limit is None or len(tokenized.ids) < limit:
        return _source(tokenized)
    read = tokenized.first(limit - 1)
    n_read = int(read.sentence_of_token.max(initial=-1)) + 1
    return _source(read, (_unread(document, n_read, limit),))


def extracted_source(
    tokenized: TokenizedDocument,
    document: Document,
    extractor: Extractor,
    length: Length | int,
    *,
    tokens_per_word: float,
    limit: int | None,
) -> WriterSource:
    """Returns the sentences of a document that are picked first, in reading order.

    How many words a summary of `length` has, and so how much is read for it, is decided by the
    extractor, which has learned how long abstracts of such papers are.

    Args:
        tokenized: The document's tokens.
        document: What is summarized.
        extractor: Picks the sentences.
        length: Of the summary.
        tokens_per_word: Tokens that are read for each word of the summary; a few sentences are read
            even for one.
        limit: Most tokens, end-of-sequence among them: of a first sentence that has more, a part is
            read. None for any number.
    """
    n_words, picks = extractor.rank_for(document, length)
    n_tokens = max(_MIN_EXTRACTED, round(tokens_per_word * n_words))
    if limit is not None:
        n_tokens = min(n_tokens, limit - 1)
    chosen = tokenized.only(choose_extract(tokenized, (pick.sentence for pick in picks), n_tokens))
    return replace(_source(chosen if limit is None else chosen.first(limit - 1)), n_words=n_words)


def choose_extract(
    tokenized: TokenizedDocument, ranking: Iterable[int], n_tokens: int
) -> list[int]:
    """Returns the sentences that are ranked first, up to the one that would be too much.

    Args:
        tokenized: The document's tokens.
        ranking: Its sentences, the most wanted first.
        n_tokens: Most tokens of them together; the first is taken even if it is longer.
    """
    lengths = np.bincount(tokenized.sentence_of_token[tokenized.sentence_of_token >= 0])
    chosen: list[int] = []
    total = 0
    for sentence in ranking:
        total += int(lengths[sentence])
        if chosen and total > n_tokens:
            break
        chosen.append(sentence)
    return chosen


def _source(tokenized: TokenizedDocument, notes: tuple[str, ...] = ()) -> WriterSource:
    ids = np.append(tokenized.ids.astype(np.int64), EOS_ID)
    begins = np.diff(tokenized.sentence_of_token, prepend=-2, append=-2) != 0
    return WriterSource(torch.from_numpy(ids)[None], begins, notes)


def _unread(document: Document, n_read: int, limit: int) -> str:
    """Says which part of a document comes after its first `n_read` sentences."""
    sentences = document.sentences
    rest = sentences[min(n_read, len(sentences) - 1) :]
    first, last = rest[0], rest[-1]
    if first.page is not None and last.page is not None:
        pages = f"page {last.page} was"
        if first.page != last.page:
            pages = f"pages {first.page}–{last.page} were"
        what = f"{pages} not read, or only in part"
    else:
        heading = document.sections[first.section].heading
        what = f"the text from within “{heading}” on" if heading else "the end of the text"
        what += " was not read"
    return (
        f"{what}: the model reads {limit:,} tokens at most, here {n_read:,} of "
        f"{len(sentences):,} sentences; --mode extract reads all"
    )
