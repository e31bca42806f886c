from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset

from finetune.article import ARTICLE_COLUMNS
from finetune.task import TASKS
from finetune.training_data import DataOptions, n_positions
from terraformer.attention_config import CrossAttentionConfig, FullAttentionConfig
from terraformer.config import EncoderDecoderConfig, LanguageModelConfig
from terraformer.errors import DataError
from terraformer.feed_forward_config import DenseFFConfig
from terraformer.position_config import (
    AxialPositionsConfig,
    LearnedPositionsConfig,
    PositionsConfig,
    SinusoidalPositionsConfig,
)
from terraformer.stack_config import StackConfig
from terraformer.tokenizer import EOS_ID

STACK = StackConfig(1, FullAttentionConfig(2), DenseFFConfig(16), residual="standard")
DECODER = StackConfig(
    1,
    FullAttentionConfig(2),
    DenseFFConfig(16),
    cross_attention=CrossAttentionConfig(2),
    residual="standard",
)
LENGTHS = (60, 8, 40, 30)


def language_model(positions: PositionsConfig | None = None) -> LanguageModelConfig:
    return LanguageModelConfig(400, 8, STACK, positions)


def encoder_decoder(
    source: PositionsConfig | None = None, target: PositionsConfig | None = None
) -> EncoderDecoderConfig:
    return EncoderDecoderConfig(400, 8, STACK, DECODER, source, target)


@pytest.fixture
def examples(tmp_path: Path) -> Path:
    """Articles of LENGTHS tokens, each a sentence of four tokens after the other."""
    rows = [
        {
            "id": str(i),
            "group": "pubmed",
            "ids": np.arange(n) % 300 + 3,
            "sentence_of_token": np.arange(n) // 4,
            "principal": np.linspace(0, 1, -(-n // 4)),
            "abstract_ids": np.full(5 * (i + 1), 9),
        }
        for i, n in enumerate(LENGTHS)
    ]
    folder = tmp_path / "articles"
    folder.mkdir()
    for split in ("train", "validation"):
        Dataset.from_list(rows, features=ARTICLE_COLUMNS).to_parquet(folder / f"{split}.parquet")
    return tmp_path


def test_windows_of_text_end_in_the_end_of_each_article(examples: Path) -> None:
    task = TASKS["language-model"](DataOptions(examples, window=20))
    data = task.load(language_model())
    batch = data.collate([data.train[i] for i in range(len(data.train))])
    ids = batch["ids"][batch["mask"]]
    assert len(ids) == sum(LENGTHS) + len(LENGTHS)
    assert (ids == EOS_ID).sum() == len(LENGTHS)
    assert batch["ids"].shape[1] <= 20


def test_spans_are_drawn_from_windows_without_ends(examples: Path) -> None:
    task = TASKS["span-corruption"](DataOptions(examples, window=60, seed=3))
    data = task.load(encoder_decoder())
    pair = data.train[0]
    assert pair.source_ids[-1] == pair.target_ids[-1] == EOS_ID
    assert EOS_ID not in pair.source_ids[:-1]
    assert 399 in pair.source_ids
    batch = data.collate([data.train[i] for i in range(3)])
    assert set(batch) == {"source_ids", "target_ids", "source_mask", "target_mask"}
    before = [data.train[i].source_ids.tolist() for i in range(3)]
    fixed = data.validation[0].source_ids.tolist()
    assert data.draws is not None
    data.draws.set_epoch(1)
    assert before != [data.train[i].source_ids.tolist() for i in range(3)]
    assert fixed == data.validation[0].source_ids.tolist()


def test_the_gap_sentences_of_an_article_are_its_target(examples: Path) -> None:
    task = TASKS["gap-sentences"](DataOptions(examples, gap_share=0.25))
    data = task.load(encoder_decoder())
    batch = data.collate([data.train[1], data.train[0]])
    assert batch["target_ids"][0, :5].tolist() == [7, 8, 9, 10, EOS_ID]
    assert batch["target_mask"].sum(dim=1).tolist() == [5, 4 * 4 + 1]
    assert (batch["source_ids"] == 399).sum(dim=1).tolist() == [1, 4]


def test_an_article_is_followed_by_its_abstract(examples: Path) -> None:
    data = TASKS["abstract"](DataOptions(examples)).load(encoder_decoder())
    batch = data.collate([data.train[1]])
    assert batch["source_ids"][0].tolist() == [*range(3, 11), EOS_ID]
    assert batch["target_ids"][0].tolist() == [9] * 10 + [EOS_ID]


def kept(task: str, options: DataOptions, config: object) -> list[int]:
    return [len(article["ids"]) for article in TASKS[task](options).load(config).train]


def test_articles_longer_than_the_positions_are_left_out(examples: Path) -> None:
    options = DataOptions(examples)
    table = [LearnedPositionsConfig(max_len=n) for n in (11, 31, 41)]
    assert kept("abstract", options, encoder_decoder()) == [60, 8, 40, 30]
    assert kept("abstract", options, encoder_decoder(table[2])) == [8, 40, 30]
    assert kept("abstract", options, encoder_decoder(table[2], table[0])) == [8]
    assert kept("gap-sentences", options, encoder_decoder(table[2], table[1])) == [8, 30]
    shorter = DataOptions(examples, max_tokens=39)
    assert kept("abstract", shorter, encoder_decoder(table[2])) == [8, 30]


def test_nothing_left_is_an_error(examples: Path) -> None:
    with pytest.raises(DataError, match="no article of at most 5 tokens"):
        kept("abstract", DataOptions(examples, max_tokens=5), encoder_decoder())


def test_windows_fit_in_the_positions(examples: Path) -> None:
    task = TASKS["language-model"](DataOptions(examples, window=65))
    with pytest.raises(DataError, match=r"65 tokens.*give --window 64"):
        task.load(language_model(AxialPositionsConfig((8, 8), (4, 4))))
    assert n_positions(AxialPositionsConfig((8, 16), (4, 4))) == 128
    assert n_positions(SinusoidalPositionsConfig()) is None
    assert n_positions(None) is None


def test_a_trial_keeps_its_papers_apart(tmp_path: Path) -> None:
    folders = {
        TASKS[name](DataOptions(tmp_path, limit=limit)).folder
        for name in TASKS
        for limit in (None, 7)
    }
    assert folders == {
        tmp_path,
        tmp_path / "articles",
        tmp_path / "first-7",
        tmp_path / "first-7" / "articles",
        tmp_path / "rewrite",
        tmp_path / "first-7" / "rewrite",
    }
