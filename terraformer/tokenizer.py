"""Sentencepiece tokenizer: a document as ids, with the span of every sentence."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import sentencepiece as spm
from numpy.typing import NDArray

from terraformer.errors import CheckpointError

if TYPE_CHECKING:
    from terraformer.document import Document

PAD_ID = 0
EOS_ID = 1
UNK_ID = 2
_SPACE = "\u2581"  # sentencepiece's sign for a space
_NUMBER = re.compile(rf"{_SPACE}(\d|$)")


@dataclass(frozen=True)
class TokenizedDocument:
    """A document as the encoder reads it: title, then each heading before its sentences.

    Attributes:
        ids: Token ids, [L], int32.
        sentence_of_token: Index of the sentence a token belongs to, [L], int32; -1 for the tokens
            of title and headings.
    """

    ids: NDArray[np.int32]
    sentence_of_token: NDArray[np.int32]

    def only(self, sentences: Sequence[int]) -> TokenizedDocument:
        """Returns some sentences alone, in reading order, without title and headings."""
        kept = np.isin(self.sentence_of_token, sentences)
        return TokenizedDocument(self.ids[kept], self.sentence_of_token[kept])

    def first(self, n_tokens: int) -> TokenizedDocument:
        """Returns as many sentences as `n_tokens` hold; part of the first if it is longer."""
        if len(self.ids) <= n_tokens:
            return self
        starts = np.flatnonzero(np.diff(self.sentence_of_token[: n_tokens + 1])) + 1
        end = int(starts[-1]) if len(starts) else n_tokens
        return TokenizedDocument(self.ids[:end], self.sentence_of_token[:end])


class Tokenizer:
    """A sentencepiece model with byte fallback: any text round-trips, nothing is unknown."""

    def __init__(self, path: str | Path) -> None:
        """Loads a model file.

        Raises:
            CheckpointError: if the file is missing or not a sentencepiece model.
        """
        try:
            self._model = spm.SentencePieceProcessor(model_file=str(path))
        except (OSError, RuntimeError) as error:
            raise CheckpointError(f"no sentencepiece model at {path}: {error}") from error

    @property
    def vocab_size(self) -> int:
        return self._model.get_piece_size()

    @cached_property
    def starts_word(self) -> NDArray[np.bool_]:
        """Whether each piece begins a word, [vocab_size]."""
        pieces = map(self._model.id_to_piece, range(self.vocab_size))
        return np.array([piece.startswith(_SPACE) for piece in pieces])

    @cached_property
    def begins_number(self) -> NDArray[np.bool_]:
        """Whether each piece begins a word with a digit, or is a bare space, [vocab_size]."""
        pieces = map(self._model.id_to_piece, range(self.vocab_size))
        return np.array([_NUMBER.match(piece) is not None for piece in pieces])

    def encode(self, text: str) -> list[int]:
        """Returns the ids of `text`, without end-of-sequence."""
        return self._model.encode(text)

    def decode(self, ids: list[int]) -> str:
        """Returns the text of `ids`."""
        return self._model.decode(ids)

    def encode_document(self, document: Document) -> TokenizedDocument:
        """Returns the ids of a whole document and the sentence behind each of them."""
        texts: list[str] = []
        owners: list[int] = []
        if document.title:
            texts.append(document.title)
            owners.append(-1)
        section = -1
        for index, sentence in enumerate(document.sentences):
            if sentence.section != section:
                section = sentence.section
                if document.sections[section].heading:
                    texts.append(document.sections[section].heading)
                    owners.append(-1)
            texts.append(sentence.text)
            owners.append(index)
        pieces = self._model.encode(texts)
        return TokenizedDocument(
            ids=np.fromiter((id_ for piece in pieces for id_ in piece), np.int32),
            sentence_of_token=np.repeat(
                np.array(owners, np.int32), [len(piece) for piece in pieces]
            ),
        )
