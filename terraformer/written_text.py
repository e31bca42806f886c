"""Text that grows token by token: which words and sentences of it will not change any more."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from terraformer.sentence_splitter import split_sentences
from terraformer.tokenizer import Tokenizer

_OPENING = " “‘\"'([«"
_REACH = 1000  # characters in which a sentence is looked for


class Piece(NamedTuple):
    """A piece of a sentence that is being written.

    Attributes:
        text: A word or several, with the space before; empty where only the end is told.
        ends_sentence: Whether the sentence is complete with it.
    """

    text: str
    ends_sentence: bool


def iterate_words(tokens: Iterable[int], tokenizer: Tokenizer) -> Iterator[str]:
    """Yields a text as it grows, cut before spaces: joined, the pieces are all of it.

    Args:
        tokens: Ids, as they come.
        tokenizer: Of the ids.
    """
    ids: list[int] = []
    n_told = 0
    for token in tokens:
        if ids and tokenizer.starts_word[token]:
            text = tokenizer.decode(ids)
            if len(text) > n_told:
                yield text[n_told:]
                n_told = len(text)
        ids.append(token)
    text = tokenizer.decode(ids)
    if len(text) > n_told:
        yield text[n_told:]


def iterate_pieces(words: Iterable[str]) -> Iterator[Piece]:
    """Cuts a growing text into sentences, which begin without the space before them.

    A sentence is complete when the next one has begun with a word; no piece is ever taken back.

    Args:
        words: Of `iterate_words`.
    """
    sentence, n_told = "", 0  # the one that is being written, and how much of it is told
    for word in words:
        sentence = sentence + word if sentence else word.lstrip()
        spans = split_sentences(sentence)
        while len(spans) > 1 and any(map(str.isalnum, sentence[slice(*spans[1])])):
            # An opening quotation mark, still open, is taken for a part of what stands before it.
            end = max(n_told, len(sentence[: spans[0][1]].rstrip(_OPENING)))
            yield Piece(sentence[n_told:end], True)
            sentence, n_told = sentence[end:].lstrip(), 0
            spans = split_sentences(sentence)
        if len(sentence) > n_told:
            yield Piece(sentence[n_told:], False)
            n_told = len(sentence)
    if sentence:
        yield Piece("", True)


def ends_with_sentence(text: str) -> bool:
    """Whether the end of a text is the end of a sentence, should another one follow."""
    tail = text[-_REACH:].rstrip()
    return bool(tail) and split_sentences(f"{tail} The")[-1][0] >= len(tail)
