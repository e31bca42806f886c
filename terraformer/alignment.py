"""Which sentences of a document stand behind a sentence that was written of it."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from terraformer.similarity import STOP_WORDS

MAX_SOURCES = 3
MIN_SHARE = 0.15  # of the written sentence's weight, which a source sentence has to explain
_WORD = re.compile(r"\d+(?:[.,]\d+)*|[^\W\d_]+(?:-[^\W\d_]+)*")


class Alignment:
    """The words of a document's sentences, read once for any number of written ones.

    Words count as much as they are rare among the sentences. The source sentence that is most
    similar is taken, the words that it explains are struck out, and the next one is looked for.

    Source: Lebanoff et al. 2019, arXiv:1906.00077, section 3.
    Differs: similarity is the tf-idf cosine, not the mean of ROUGE-1, -2 and -L; what explains less
        than MIN_SHARE of the written sentence is no source of it.
    """

    def __init__(self, sentences: Sequence[str]) -> None:
        """Reads the sentences of the source, S."""
        words = [sorted(set(_content(sentence))) for sentence in sentences]
        self._columns = {word: i for i, word in enumerate(sorted({w for ws in words for w in ws}))}
        starts = np.cumsum([0, *map(len, words)])
        indices = np.array([self._columns[word] for ws in words for word in ws], np.int64)
        self._weight_of_new = float(np.log(1 + len(words)) + 1)
        shape = len(words), max(1, len(self._columns))
        df = np.bincount(indices, minlength=shape[1])
        self._weights = np.log((1 + len(words)) / (1 + df)) + 1  # [vocabulary]
        self._holds = sparse.csr_matrix((np.ones(len(indices)), indices, starts), shape)
        norms = np.sqrt(self._holds @ self._weights**2)  # [S]
        self._scale = np.divide(1.0, norms, out=np.zeros_like(norms), where=norms > 0)

    def sources(self, sentence: str) -> tuple[int, ...]:
        """Returns the source sentences behind a written one, the most similar first; may be none.

        At most MAX_SOURCES; of equally similar ones the first.
        """
        words = set(_content(sentence))
        columns = [self._columns[word] for word in sorted(words) if word in self._columns]
        open_weights = np.zeros_like(self._weights)
        open_weights[columns] = self._weights[columns]
        total = open_weights.sum() + self._weight_of_new * (len(words) - len(columns))
        found: list[int] = []
        while len(found) < MAX_SOURCES and open_weights.any():
            explained = self._holds @ open_weights  # [S]
            similarity = (self._holds @ open_weights**2) * self._scale
            enough = explained >= MIN_SHARE * total
            if not enough.any():
                break
            best = int(np.where(enough, similarity, -1.0).argmax())
            found.append(best)
            open_weights[self._row(best)] = 0.0
        return tuple(found)

    def _row(self, sentence: int) -> NDArray[np.signedinteger]:
        start, end = self._holds.indptr[sentence : sentence + 2]
        return self._holds.indices[start:end]


def _content(text: str) -> list[str]:
    return [word for word in _WORD.findall(text.lower()) if word not in STOP_WORDS]
