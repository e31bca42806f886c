"""Documents as the model's input: padded at the end of every axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from terraformer.model import Source

if TYPE_CHECKING:
    from terraformer.document import Document
    from terraformer.tokenizer import Tokenizer


@dataclass(frozen=True)
class SourceArrays:
    """One document as numbers.

    Attributes:
        ids, sentence_of_token: See `TokenizedDocument`, [L].
        features: [S, n_features].
        selectable: [S].
        n_words: [S].
    """

    ids: NDArray[np.int32]
    sentence_of_token: NDArray[np.int32]
    features: NDArray[np.floating]
    selectable: NDArray[np.bool_]
    n_words: NDArray[np.int32]

    @classmethod
    def of(cls, document: Document, tokenizer: Tokenizer) -> SourceArrays:
        """Reads a document."""
        from terraformer.features import sentence_features
        from terraformer.selectable import selectable_sentences

        tokenized = tokenizer.encode_document(document)
        return cls(
            ids=tokenized.ids,
            sentence_of_token=tokenized.sentence_of_token,
            features=sentence_features(document),
            selectable=selectable_sentences(document),
            n_words=np.array([sentence.n_words for sentence in document.sentences], np.int32),
        )


def collate(documents: Sequence[SourceArrays]) -> Source:
    """Pads documents to the longest of them."""
    ids = _pad([torch.from_numpy(np.array(d.ids, np.int64)) for d in documents], 0)
    sentence_of_token = _pad(
        [torch.from_numpy(np.array(d.sentence_of_token, np.int64)) for d in documents], -1
    )
    return Source(
        ids=ids,
        token_mask=_mask([len(d.ids) for d in documents], ids.shape[1]),
        sentence_of_token=sentence_of_token,
        features=_pad([torch.from_numpy(np.array(d.features, np.float32)) for d in documents], 0),
        sentence_mask=_mask(
            [len(d.n_words) for d in documents], max(len(d.n_words) for d in documents)
        ),
        selectable=_pad([torch.from_numpy(np.array(d.selectable, bool)) for d in documents], 0),
        n_words=_pad([torch.from_numpy(np.array(d.n_words, np.int64)) for d in documents], 0),
    )


def _pad(rows: list[Tensor], value: int) -> Tensor:
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=value)


def _mask(lengths: list[int], length: int) -> Tensor:
    return torch.arange(length) < torch.tensor(lengths)[:, None]
