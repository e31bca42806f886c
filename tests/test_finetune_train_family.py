from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from datasets import Dataset
from safetensors.torch import load_file

from finetune import train as module
from terraformer.attention_config import (
    CrossAttentionConfig,
    FullAttentionConfig,
    LocalAttentionConfig,
    LSHAttentionConfig,
)
from terraformer.checkpoint import load_model
from terraformer.config import EncoderDecoderConfig, LanguageModelConfig, ModelConfig
from terraformer.feed_forward_config import DenseFFConfig, SparseFFConfig, SwitchFFConfig
from terraformer.position_config import AxialPositionsConfig, LearnedPositionsConfig
from terraformer.stack_config import SparseHeadConfig, SRUConfig, StackConfig

VOCAB_SIZE, D_MODEL, N_HEADS = 400, 8, 2
ATTENTION = FullAttentionConfig(N_HEADS)
LSH = LSHAttentionConfig(N_HEADS, chunk_len=16)

REFORMER = LanguageModelConfig(
    VOCAB_SIZE,
    D_MODEL,
    StackConfig(2, (LocalAttentionConfig(N_HEADS, chunk_len=16), LSH), DenseFFConfig(16)),
    positions=AxialPositionsConfig((8, 8), (4, 4)),
    join_streams="concatenated",
)
TERRAFORMER = EncoderDecoderConfig(
    VOCAB_SIZE,
    D_MODEL,
    StackConfig(1, LSH, SparseFFConfig(16, 4, 4), SRUConfig(1, 4)),
    StackConfig(1, LSH, SparseFFConfig(16, 4, 4), SRUConfig(1, 4), n_attention=2),
    head=SparseHeadConfig(4),
)


def transformer(feed_forward: DenseFFConfig | SwitchFFConfig) -> EncoderDecoderConfig:
    """A Transformer with cross-attention: dense, or of Switch layers."""
    encoder = StackConfig(1, ATTENTION, feed_forward, residual="standard")
    decoder = replace(encoder, cross_attention=CrossAttentionConfig(N_HEADS))
    positions = LearnedPositionsConfig(max_len=1024)
    return EncoderDecoderConfig(VOCAB_SIZE, D_MODEL, encoder, decoder, positions, positions)


SWITCH = transformer(SwitchFFConfig(16, n_experts=2))
DENSE = transformer(DenseFFConfig(16))


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("papers")
    animals = "otter heron salmon beaver mayfly dipper".split()
    rows = [
        {
            "id": str(i),
            "origin": "plos",
            "title": animal,
            "abstract": f"The {animal} follows the river.",
            "sections": [
                {
                    "heading": "Results",
                    "text": " ".join(f"The {animal} follows river {n} home." for n in range(4 + i)),
                }
            ],
        }
        for i, animal in enumerate(animals)
    ]
    Dataset.from_list(rows).to_parquet(folder / "train.parquet")
    Dataset.from_list(rows[:2]).to_parquet(folder / "validation.parquet")
    return folder


Run = Callable[..., Path]


@pytest.fixture
def run(
    papers: Path, tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Run:
    """Runs the command on a config for a few steps and returns the checkpoint's folder."""

    def train(name: str, *words: object, steps: int = 4, config: ModelConfig | None = None) -> Path:
        output = tmp_path / name
        options: dict[str, object] = {
            "--data": papers,
            "--examples": papers / "prepared",
            "--tokenizer": tiny_checkpoint / "tokenizer.model",
            "--output": output,
            "--batch-size": 2,
            "--save-steps": 2,
            "--warmup-steps": 1,
            "--threads": 1,
            "--max-steps": steps,
        }
        if config is not None:
            path = tmp_path / f"{name}.json"
            path.write_text(json.dumps(config.to_dict()))
            options["--config"] = path
        pairs = [str(part) for pair in options.items() for part in pair]
        monkeypatch.setattr(sys, "argv", ["train", "--quiet", *pairs, *map(str, words)])
        assert module.main() == 0
        return output

    return train


@pytest.mark.parametrize(
    ("task", "config", "words"),
    [
        ("language-model", REFORMER, ["--window", 64]),
        ("span-corruption", TERRAFORMER, ["--window", 48, "--optimizer", "adafactor"]),
        ("gap-sentences", TERRAFORMER, ["--gap-strategy", "random", "--recompute"]),
        ("abstract", SWITCH, ["--accumulate", 2, "--schedule", "rsqrt"]),
    ],
    ids=["language-model", "span-corruption", "gap-sentences", "abstract"],
)
def test_every_task_trains_its_model(
    run: Run, task: str, config: ModelConfig, words: list[object]
) -> None:
    output = run("model", "--task", task, *words, config=config)
    model, tokenizer = load_model(output)
    assert model.config == config
    assert tokenizer.vocab_size == VOCAB_SIZE
    history = json.loads((output / "history.json").read_text())
    losses = [entry["eval_loss"] for entry in history if "eval_loss" in entry]
    assert len(losses) == 2
    assert all(torch.isfinite(torch.tensor(losses)))
    last = load_file(output / "trainer" / "checkpoint-4" / "model.safetensors")
    middle = load_file(output / "trainer" / "checkpoint-2" / "model.safetensors")
    assert any(not torch.equal(last[name], middle[name]) for name in last)


def test_a_resumed_run_is_that_which_was_never_broken(run: Run) -> None:
    words = ["--task", "span-corruption", "--window", 48, "--schedule", "rsqrt-flat"]
    whole = run("whole", *words, steps=8, config=TERRAFORMER)
    run("broken", *words, steps=6, config=TERRAFORMER)
    broken = run("broken", *words, steps=8, config=TERRAFORMER)
    for folder in (".", "trainer/checkpoint-8"):
        expected = load_file(whole / folder / "model.safetensors")
        for name, weight in load_file(broken / folder / "model.safetensors").items():
            torch.testing.assert_close(weight, expected[name], rtol=0, atol=0, msg=name)


def test_a_switch_teaches_a_dense_model_that_starts_from_its_other_layers(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    teacher = run("teacher", "--task", "abstract", config=SWITCH)
    words = ["--task", "abstract", "--teacher", teacher, "--teacher-weight", 1]
    still = run("still", *words, "--learning-rate", 0, steps=2, config=DENSE)
    assert f"43 of 51 weights start from {teacher}" in caplog.text
    taught, dense = load_file(teacher / "model.safetensors"), load_file(still / "model.safetensors")
    new = {name for name in dense if name not in taught}
    assert len(new) == 8  # two layers of two weights and two biases
    assert all("feed_forward" in name for name in new)
    for name in dense.keys() - new:
        torch.testing.assert_close(dense[name], taught[name])
    student = load_file(run("student", *words, config=DENSE) / "model.safetensors")
    assert any(not torch.equal(student[name], dense[name]) for name in dense)


def test_a_run_starts_from_a_checkpoint(run: Run) -> None:
    first = run("first", "--task", "span-corruption", "--window", 48, config=TERRAFORMER)
    second = run("second", "--task", "abstract", "--init", first, "--learning-rate", 0, steps=2)
    assert load_model(second)[0].config == TERRAFORMER
    before, after = (load_file(folder / "model.safetensors") for folder in (first, second))
    for name, weight in before.items():
        torch.testing.assert_close(after[name], weight)
