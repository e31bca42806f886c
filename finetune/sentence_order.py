"""Sentence order: the sentences of a piece of text are shuffled, and picked in reading order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from finetune.objectives import Targets, collate_targets
from terraformer.batch import SourceArrays, collate


class Shuffled(NamedTuple):
    """Shuffled sentences, and the order in which they are to be picked.

    Attributes:
        source: The sentences, S of them, without features.
        order: Places of the sentences in the source, in reading order, [S].
    """

    source: SourceArrays
    order: NDArray[np.int64]


def shuffle_sentences(
    example: dict[str, Any], n_features: int, max_tokens: int, random: np.random.Generator
) -> Shuffled:
    """Draws some sentences that follow one another and shuffles them.

    They begin at any sentence and end with the document, or before `max_tokens` would be passed;
    two sentences are taken in any case where the document has as many. Features would tell the
    order, so all are zero.

    Args:
        example: A row of `finetune.prepare`, of at least one sentence.
        n_features: Of the model.
        max_tokens: Most tokens of the sentences together.
        random: Source of the place and the order.
    """
    of_token = example["sentence_of_token"]
    n_words = example["n_words"]
    n_tokens = np.bincount(of_token[of_token >= 0], minlength=len(n_words))
    first = int(random.integers(max(1, len(n_words) - 1)))
    n_within = int(np.searchsorted(n_tokens[first:].cumsum(), max_tokens, side="right"))
    shuffled = first + random.permutation(min(max(2, n_within), len(n_words) - first))
    tokens = [np.flatnonzero(of_token == sentence) for sentence in shuffled]
    source = SourceArrays(
        ids=example["ids"][np.concatenate(tokens)],
        sentence_of_token=np.repeat(
            np.arange(len(tokens), dtype=np.int32), [len(each) for each in tokens]
        ),
        features=np.zeros((len(shuffled), n_features), np.float32),
        selectable=np.ones(len(shuffled), bool),
        n_words=n_words[shuffled],
    )
    return Shuffled(source, np.argsort(shuffled))


class ShuffledSentences(Dataset[Shuffled]):
    """Sentences of each document, drawn anew at every epoch, but always the same for a seed.

    Args:
        examples: Rows of `finetune.prepare`.
        n_features: Of the model.
        max_tokens: See `shuffle_sentences`.
        seed: Of the draws.
    """

    def __init__(self, examples: Any, n_features: int, max_tokens: int, seed: int) -> None:
        self._examples = examples
        self._n_features = n_features
        self._max_tokens = max_tokens
        self._seed = seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Tells the epoch that begins."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: int) -> Shuffled:
        random = np.random.default_rng((self._seed, self._epoch, index))
        return shuffle_sentences(self._examples[index], self._n_features, self._max_tokens, random)


def collate_shuffled(examples: Sequence[Shuffled]) -> dict[str, Tensor]:
    """Makes a batch for `ExtractObjective`: each pick is the next in reading order, then the stop.

    No sentence is salient, so the objective's salience should not count.
    """
    source = collate([example.source for example in examples])
    targets = [
        Targets(
            picks=order,
            next_pick=np.eye(len(order) + 1, dtype=np.float32)[np.append(order, len(order))],
            membership=np.zeros(len(order), np.float32),
            weight=1.0,
        )
        for _, order in examples
    ]
    return {**source._asdict(), **collate_targets(targets)}
