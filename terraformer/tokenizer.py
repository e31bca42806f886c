"""Sentencepiece tokenizer: a document as ids, with the span of every sentence."""

from __future__ import annotations

from dataclasses import dataclass
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
