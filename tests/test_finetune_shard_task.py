from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from packed_papers import N_PAPERS, carry_papers
from torch import Tensor

from finetune.batch_plan import BatchKey
from finetune.shard_task import SHARD_TASKS, ShardTask, TaskOptions, load_articles, present_shards
from finetune.task import TASKS
from finetune.training_data import DataOptions
from terraformer.attention_config import CrossAttentionConfig, FullAttentionConfig
from terraformer.config import EncoderDecoderConfig, ModelConfig, TerraformerConfig
from terraformer.errors import DataError
from terraformer.feed_forward_config import DenseFFConfig
from terraformer.stack_config import StackConfig
from terraformer.writing_config import WritingConfig

STACK = StackConfig(1, FullAttentionConfig(2), DenseFFConfig(16), residual="standard")
DECODER = StackConfig(
    1,
    FullAttentionConfig(2),
    DenseFFConfig(16),
    cross_attention=CrossAttentionConfig(2),
    residual="standard",
)
WRITER = EncoderDecoderConfig(400, 8, STACK, DECODER, writing=WritingConfig(n_extracted=40))
PICKER = TerraformerConfig(vocab_size=400)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: Path) -> Path:
    return carry_papers(tmp_path_factory.mktemp("carried"), tiny_checkpoint / "tokenizer.model")


def new_task(data: Path, name: str, options: TaskOptions | None = None) -> ShardTask:
    files = present_shards(data, "articles", "train")
    config: ModelConfig = PICKER if name == "extract" else WRITER
    return SHARD_TASKS[name](data, files, config, options or TaskOptions())


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor], **tolerances: float) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=tolerances.get(name, 0))


@pytest.mark.parametrize("name", ["span-corruption", "gap-sentences", "abstract", "rewrite"])
def test_batches_are_those_of_training_from_prepared_papers(data: Path, name: str) -> None:
    task = new_task(data, name, TaskOptions(window=48))
    examples = data.parent / "examples"
    usual = TASKS[name](DataOptions(examples, window=48)).load(WRITER)
    if usual.draws is not None:
        usual.draws.set_epoch(2)
    expected = usual.collate([usual.train[item] for item in (3, 0)])
    assert_same(task[BatchKey(2, 7, (3, 0))], expected)
    assert len(task.n_tokens) == len(usual.train)


def test_picking_follows_the_prepared_episodes(data: Path) -> None:
    task = new_task(data, "extract")
    batch = task[BatchKey(0, 0, (1, 4))]
    usual = TASKS["extract"](DataOptions(data.parent / "examples")).load(PICKER)
    expected = usual.collate([usual.train[1], usual.train[4]])
    drawn = {"picks", "next_pick", "weight"}
    assert_same(
        {name: batch[name] for name in batch.keys() - drawn},
        {name: expected[name] for name in expected.keys() - drawn},
        features=1 / 32,
        membership=0.02,
    )
    assert_same(batch, task[BatchKey(0, 0, (1, 4))])
    others = [task[BatchKey(0, number, (8, 7))]["picks"] for number in range(8)]
    assert any(not torch.equal(others[0], other) for other in others)


def test_validation_rewrites_what_the_extractor_picks(data: Path) -> None:
    files = present_shards(data, "articles", "validation")
    task = SHARD_TASKS["rewrite"](data, files, WRITER, TaskOptions())
    usual = TASKS["rewrite"](DataOptions(data.parent / "examples")).load(WRITER)
    place = [row["id"] for row in usual.validation].index(task.articles.names[5])
    for epoch in range(4):
        found = task[BatchKey(epoch, 0, (5,))]
        assert_same(found, usual.collate([usual.validation[place]]))
    assert found["source_mask"].sum() <= 41


def test_long_papers_and_those_of_one_sentence_are_left_out(data: Path) -> None:
    lengths = load_articles(data, present_shards(data, "articles", "train")).n_tokens
    most = int(np.sort(lengths)[4])
    for name in ("gap-sentences", "abstract", "extract"):
        task = new_task(data, name, TaskOptions(max_tokens=most))
        assert len(task.n_tokens) == 5
        assert len(new_task(data, name).n_tokens) == N_PAPERS
    with pytest.raises(DataError, match="is an example of AbstractTask"):
        new_task(data, "abstract", TaskOptions(max_tokens=3))


def test_only_shards_that_are_there_are_named(data: Path, tmp_path: Path) -> None:
    assert present_shards(data, "articles", "train") == ["articles-train-000.npz"]
    (tmp_path / "manifest.json").write_bytes((data / "manifest.json").read_bytes())
    assert present_shards(tmp_path, "articles", "train") == []
    with pytest.raises(DataError, match="no shards of articles"):
        load_articles(tmp_path, [])
