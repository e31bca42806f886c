"""The tasks of training: what each reads, which model it trains, and for what."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Protocol

from torch import Tensor, nn

from finetune.gap_sentences import GapSentences
from finetune.objectives import ExtractCollator, ExtractObjective
from finetune.prepare import load_examples, prepare_missing
from finetune.rewrite_pair import Rewrites
from finetune.sentence_order import ShuffledSentences, collate_shuffled
from finetune.span_corruption import CorruptedWindows, TokenPair
from finetune.token_objective import (
    TokenObjective,
    article_and_abstract,
    collate_pairs,
    collate_windows,
)
from finetune.trainer import DrawsByEpoch
from finetune.training_data import (
    N_EVALUATED,
    DataOptions,
    load_whole_articles,
    load_windows,
)
from terraformer.config import (
    EncoderDecoderConfig,
    LanguageModelConfig,
    ModelConfig,
    TerraformerConfig,
)
from terraformer.errors import DataError
from terraformer.position_config import n_positions


class Examples(Protocol):
    """A data set that the Trainer takes, PyTorch's or Hugging Face's."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


class TrainingData(NamedTuple):
    """What the Trainer reads.

    Attributes:
        train, validation: Examples.
        collate: Makes a batch of them.
        draws: What is drawn anew at every epoch, if anything.
    """

    train: Examples
    validation: Examples
    collate: Callable[[Sequence[Any]], dict[str, Tensor]]
    draws: DrawsByEpoch | None = None


class Task(ABC):
    """One way of training one kind of model.

    Attributes:
        config_type: Of the models that it trains.
        form: In which papers are prepared for it; see `finetune.prepare`.
        target_name: Name of what is foreseen, in a batch.
        sampling: How the Trainer orders examples: of like length together where lengths differ.
    """

    config_type: ClassVar[type[ModelConfig]]
    form: ClassVar[str] = "articles"
    target_name: ClassVar[str] = "target_ids"
    sampling: ClassVar[Literal["random", "group_by_length"]] = "group_by_length"

    def __init__(self, options: DataOptions) -> None:
        self.options = options
        folder = options.examples
        # A trial keeps its papers apart, so that a full run never takes its few for all.
        if options.limit:
            folder = folder / f"first-{options.limit}"
        self.folder = folder if self.form == "extract" else folder / self.form

    def prepare(self, tokenizer_path: Path, data: str | None) -> None:
        """Prepares the papers where that has not been done."""
        prepare_missing(self.folder, tokenizer_path, data, limit=self.options.limit, form=self.form)

    @abstractmethod
    def load(self, config: Any) -> TrainingData:
        """Loads what was prepared, for a model of `config`.

        Raises:
            DataError: if nothing is left to train with.
        """

    def objective(self, model: Any) -> nn.Module:
        """Returns the model with its loss."""
        return TokenObjective(model)


class ExtractTask(Task):
    """Picks sentences: follows near-oracle episodes."""

    config_type = TerraformerConfig
    form = "extract"
    target_name = "next_pick"

    def load(self, config: TerraformerConfig) -> TrainingData:
        train = self.folder / "train.parquet"
        return TrainingData(
            load_examples(train, max_tokens=self.options.max_tokens),
            load_examples(self.folder / "validation.parquet", limit=N_EVALUATED),
            ExtractCollator(config.n_features, self.options.seed),
        )

    def objective(self, model: Any) -> ExtractObjective:
        return ExtractObjective(model)


class SentenceOrderTask(ExtractTask):
    """Picks shuffled sentences in reading order."""

    sampling = "random"

    def load(self, config: TerraformerConfig) -> TrainingData:
        train, validation = (
            ShuffledSentences(each, config.n_features, self.options.window, self.options.seed)
            for each in super().load(config)[:2]
        )
        return TrainingData(train, validation, collate_shuffled, train)

    def objective(self, model: Any) -> ExtractObjective:
        return ExtractObjective(model, salience_weight=0.0)


class LanguageModelTask(Task):
    """Foresees each token of the articles, seen through windows."""

    config_type = LanguageModelConfig
    target_name = "ids"
    sampling = "random"

    def load(self, config: LanguageModelConfig) -> TrainingData:
        train, validation = load_windows(
            self.folder, self.options.window, with_end=True, positions=config.positions
        )
        return TrainingData(train, validation, collate_windows)


class SpanCorruptionTask(Task):
    """Restores spans of the articles, seen through windows."""

    config_type = EncoderDecoderConfig
    sampling = "random"

    def load(self, config: EncoderDecoderConfig) -> TrainingData:
        windows = load_windows(
            self.folder, self.options.window, with_end=False, positions=config.source_positions
        )
        train, validation = (
            CorruptedWindows(each, config.vocab_size, self.options.seed) for each in windows
        )
        return TrainingData(train, validation, collate_pairs, train)


class GapSentencesTask(Task):
    """Writes the sentences that say most of an article, and were cut out of it."""

    config_type = EncoderDecoderConfig

    def load(self, config: EncoderDecoderConfig) -> TrainingData:
        options = self.options
        gaps = GapSentences(
            config.vocab_size, options.seed, options.gap_share, options.gap_strategy
        )
        # The gaps of an article may be nearly all of it.
        positions = map(n_positions, (config.source_positions, config.target_positions))
        train, validation = load_whole_articles(
            self.folder,
            max_tokens=options.max_tokens,
            n_source=min((n for n in positions if n is not None), default=None),
            n_target=None,
            min_sentences=2,
        )
        return TrainingData(train, validation, _Paired(gaps), gaps)


class AbstractTask(Task):
    """Writes the abstracts of articles."""

    config_type = EncoderDecoderConfig

    def load(self, config: EncoderDecoderConfig) -> TrainingData:
        train, validation = load_whole_articles(
            self.folder,
            max_tokens=self.options.max_tokens,
            n_source=n_positions(config.source_positions),
            n_target=n_positions(config.target_positions),
        )
        return TrainingData(train, validation, _Paired(article_and_abstract))


class RewriteTask(Task):
    """Writes the abstracts of articles from the sentences that were picked of them."""

    config_type = EncoderDecoderConfig
    form = "rewrite"

    def load(self, config: EncoderDecoderConfig) -> TrainingData:
        n_tokens, most = config.writing.n_extracted, n_positions(config.source_positions)
        if n_tokens is None:
            raise DataError(
                "the model's configuration does not say how much it rewrites: set "
                "writing.n_extracted, such as 1024"
            )
        rewrites = Rewrites(
            n_tokens if most is None else min(n_tokens, most - 1), self.options.seed
        )
        train, validation = load_whole_articles(
            self.folder,
            max_tokens=self.options.max_tokens,
            n_source=None,
            n_target=n_positions(config.target_positions),
        )
        # As in use, where there is no oracle.
        validation = validation.remove_columns("oracle")
        return TrainingData(train, validation, _Paired(rewrites), rewrites)


TASKS: dict[str, type[Task]] = {
    "extract": ExtractTask,
    "sentence-order": SentenceOrderTask,
    "language-model": LanguageModelTask,
    "span-corruption": SpanCorruptionTask,
    "gap-sentences": GapSentencesTask,
    "abstract": AbstractTask,
    "rewrite": RewriteTask,
}


class _Paired:
    """A collator that first makes a pair of each article."""

    def __init__(self, pair: Callable[[dict[str, Any]], TokenPair]) -> None:
        self._pair = pair

    def __call__(self, articles: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        return collate_pairs([self._pair(article) for article in articles])
