"""What the tasks make of token shards: batches, computed anew from a key wherever they are needed.

The objectives, the noise and the collation are those of `finetune.train`; only the reading differs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import Dataset

from finetune.batch_plan import BatchKey
from finetune.gap_sentences import GAP_SHARE, GapSentences, GapStrategy
from finetune.objectives import ExtractCollator, ExtractObjective
from finetune.packed_rows import Articles, Examples, RankedArticles
from finetune.rewrite_pair import Rewrites
from finetune.shards import Form, Manifest, read_arrays
from finetune.span_corruption import CorruptedWindows, TokenPair
from finetune.token_objective import TokenObjective, article_and_abstract, collate_pairs
from finetune.window import TokenWindows
from terraformer.config import EncoderDecoderConfig, ModelConfig, TerraformerConfig
from terraformer.errors import DataError


@dataclass(frozen=True)
class TaskOptions:
    """How a task makes examples of papers.

    Attributes:
        max_tokens: Longer papers are left out; None keeps all.
        window: Most tokens that span corruption sees at once.
        gap_share: See `choose_gaps`.
        gap_strategy: See `choose_gaps`.
        seed: Of what is drawn.
    """

    max_tokens: int | None = None
    window: int = 512
    gap_share: float = GAP_SHARE
    gap_strategy: GapStrategy = "principal"
    seed: int = 0


def present_shards(folder: Path, form: Form, split: str) -> list[str]:
    """Returns the shards of a form and split that lie in a folder, in their order."""
    shards = Manifest.read(folder).of(form, split)
    return [shard.file for shard in shards if (folder / shard.file).exists()]


def load_articles(folder: Path, files: Sequence[str]) -> Articles:
    """Loads shards of articles.

    Raises:
        DataError: if there are none.
    """
    if not files:
        raise DataError(f"no shards of articles in {folder}: unpack a folder of finetune.pack")
    return Articles([read_arrays(folder / file) for file in files])


class ShardTask(Dataset[dict[str, Tensor]], ABC):
    """The examples of a split for one task.

    Args:
        folder: Where the shards are.
        files: Those that are read, of articles.
        config: Of the model.
        options: How examples are made.
    """

    form: ClassVar[Form] = "articles"
    config_type: ClassVar[type[ModelConfig]] = EncoderDecoderConfig

    n_tokens: NDArray[np.int64]
    """Tokens of each example, source and target together; decides about batches."""

    def __init__(
        self, folder: Path, files: Sequence[str], config: Any, options: TaskOptions
    ) -> None:
        self.articles = load_articles(folder, files)
        self.config = config
        self.options = options
        chosen = self.articles.n_tokens > 0
        if options.max_tokens is not None:
            chosen &= self.articles.n_tokens <= options.max_tokens
        self.choose(folder, files, chosen)
        if not len(self.n_tokens):
            raise DataError(f"nothing in {folder} is an example of {type(self).__name__}")

    @abstractmethod
    def choose(self, folder: Path, files: Sequence[str], chosen: NDArray[np.bool_]) -> None:
        """Sets `n_tokens`, with the `chosen` papers: those that are neither empty nor too long."""

    @abstractmethod
    def __getitem__(self, key: BatchKey) -> dict[str, Tensor]:
        """Returns a batch, the same whenever it is asked for."""

    def objective(self, model: Any) -> nn.Module:
        """Returns the model with its loss."""
        return TokenObjective(model)


class SpanCorruptionTask(ShardTask):
    """Restores spans of the articles, seen through windows."""

    def choose(self, folder: Path, files: Sequence[str], chosen: NDArray[np.bool_]) -> None:
        windows = TokenWindows(self.articles, self.options.window, with_end=False)
        self._corrupted = CorruptedWindows(windows, self.config.vocab_size, self.options.seed)
        self.n_tokens = np.full(len(windows), self.options.window)

    def __getitem__(self, key: BatchKey) -> dict[str, Tensor]:
        self._corrupted.set_epoch(key.epoch)
        return collate_pairs([self._corrupted[item] for item in key.items])


class GapSentencesTask(ShardTask):
    """Writes the sentences that say most of an article, and were cut out of it."""

    def choose(self, folder: Path, files: Sequence[str], chosen: NDArray[np.bool_]) -> None:
        options = self.options
        self._gaps = GapSentences(
            self.config.vocab_size, options.seed, options.gap_share, options.gap_strategy
        )
        self._places = np.flatnonzero(chosen & (self.articles.n_sentences > 1))
        self.n_tokens = self.articles.n_tokens[self._places]

    def __getitem__(self, key: BatchKey) -> dict[str, Tensor]:
        self._gaps.set_epoch(key.epoch)
        rows = [self.articles[int(self._places[item])] for item in key.items]
        return collate_pairs([self._gaps(row) for row in rows])


class AbstractTask(ShardTask):
    """Writes the abstracts of articles."""

    def choose(self, folder: Path, files: Sequence[str], chosen: NDArray[np.bool_]) -> None:
        self._places = np.flatnonzero(chosen & (self.articles.n_abstract > 0))
        lengths = self.articles.n_tokens + self.articles.n_abstract
        self.n_tokens = lengths[self._places]

    def __getitem__(self, key: BatchKey) -> dict[str, Tensor]:
        return collate_pairs([self.pair(item) for item in key.items])

    def pair(self, item: int) -> TokenPair:
        """Returns what is read and what is written in an example."""
        return article_and_abstract(self.articles[int(self._places[item])])


class RewriteTask(ShardTask):
    """Writes the abstracts of articles from the sentences that were picked of them."""

    form = "rewrite"

    def choose(self, folder: Path, files: Sequence[str], chosen: NDArray[np.bool_]) -> None:
        n_extracted = self.config.writing.n_extracted
        if n_extracted is None:
            raise DataError("the recipe's model does not say how much it rewrites: set n_extracted")
        beside = [file.replace("articles", "rewrite", 1) for file in files]
        self._ranked = RankedArticles(self.articles, [read_arrays(folder / f) for f in beside])
        # As in use, where there is no oracle: only training draws on it.
        is_training = any("train" in file for file in files)
        self._rewrites = Rewrites(n_extracted, self.options.seed, 0.5 * is_training)
        self._places = np.flatnonzero(
            chosen & (self.articles.n_abstract > 0) & (self._ranked.n_ranked > 0)
        )
        lengths = np.minimum(self.articles.n_tokens, n_extracted) + self.articles.n_abstract
        self.n_tokens = lengths[self._places]

    def __getitem__(self, key: BatchKey) -> dict[str, Tensor]:
        self._rewrites.set_epoch(key.epoch)
        return collate_pairs([self.pair(item) for item in key.items])

    def pair(self, item: int) -> TokenPair:
        """Returns what is read and what is written in an example."""
        return self._rewrites(self._ranked[int(self._places[item])])


class ExtractTask(ShardTask):
    """Picks sentences: follows near-oracle episodes."""

    form = "extract"
    config_type = TerraformerConfig

    def choose(self, folder: Path, files: Sequence[str], chosen: NDArray[np.bool_]) -> None:
        beside = [file.replace("articles", "extract", 1) for file in files]
        self._examples = Examples(self.articles, [read_arrays(folder / file) for file in beside])
        self._places = np.flatnonzero(chosen & (self._examples.n_episodes > 0))
        self.n_tokens = self.articles.n_tokens[self._places]

    def __getitem__(self, key: BatchKey) -> dict[str, Tensor]:
        seed = np.random.SeedSequence((self.options.seed, key.epoch, key.number))
        collate = ExtractCollator(self.config.n_features, int(seed.generate_state(1)[0]))
        return collate([self._examples[int(self._places[item])] for item in key.items])

    def objective(self, model: Any) -> ExtractObjective:
        return ExtractObjective(model)


SHARD_TASKS: dict[str, type[ShardTask]] = {
    "extract": ExtractTask,
    "span-corruption": SpanCorruptionTask,
    "gap-sentences": GapSentencesTask,
    "abstract": AbstractTask,
    "rewrite": RewriteTask,
}
