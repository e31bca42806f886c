from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from datasets import Dataset
from safetensors.torch import load_file

from finetune import train as module
from finetune.prepare import load_examples
from terraformer.attention_config import FullAttentionConfig, LSHAttentionConfig
from terraformer.config import TerraformerConfig
from terraformer.document import Document
from terraformer.errors import DataError
from terraformer.feed_forward_config import SparseFFConfig
from terraformer.stack_config import SRUConfig, StackConfig
from terraformer.summarizer import Summarizer

ANIMALS = "otter heron salmon beaver mayfly dipper trout eel".split()
STACK = StackConfig(
    1, LSHAttentionConfig(2, chunk_len=16), SparseFFConfig(16, 4, 4), SRUConfig(1, 4)
)
CONFIG = TerraformerConfig(
    vocab_size=400,
    d_token=8,
    d_model=8,
    token_encoder=STACK,
    sentence_encoder=STACK,
    decoder=StackConfig(1, FullAttentionConfig(2), SparseFFConfig(16, 4, 4)),
)


@pytest.fixture
def papers(tmp_path: Path) -> Path:
    folder = tmp_path / "papers"
    folder.mkdir()
    rows = []
    for i, animal in enumerate(ANIMALS):
        prose = [f"The {animal} follows the river number {n} home." for n in range(4 + i)]
        rows.append(
            {
                "id": str(i),
                "origin": "plos",
                "title": animal,
                "abstract": f"The {animal} follows the river number 2 and 3.",
                "sections": [{"heading": "Results", "text": " ".join(prose)}],
            }
        )
    Dataset.from_list(rows).to_parquet(folder / "train.parquet")
    Dataset.from_list(rows[:2]).to_parquet(folder / "validation.parquet")
    return folder


def test_papers_become_a_checkpoint_and_a_run_goes_on_where_it_ended(
    papers: Path, tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, output = tmp_path / "config.json", tmp_path / "model"
    config.write_text(json.dumps(CONFIG.to_dict()))
    options = {
        "--data": papers,
        "--examples": tmp_path / "examples",
        "--tokenizer": tiny_checkpoint / "tokenizer.model",
        "--output": output,
        "--config": config,
        "--batch-size": 2,
        "--save-steps": 2,
        "--warmup-steps": 1,
        "--threads": 1,
        "--average-decay": 0.5,
    }

    def train(epochs: float) -> dict[str, torch.Tensor]:
        pairs = [str(part) for pair in options.items() for part in pair]
        monkeypatch.setattr(sys, "argv", ["train", *pairs, "--epochs", str(epochs), "--quiet"])
        module.main()
        return load_file(output / "model.safetensors")

    first = train(1)
    history = json.loads((output / "history.json").read_text())
    assert {"train_loss", "eval_loss"} <= set().union(*history)
    assert (output / "trainer" / "checkpoint-4" / "average.pt").exists()
    summarizer = Summarizer.load(output)
    assert summarizer.model.config == CONFIG
    document = Document.from_sections([("", "The otter follows the river. The eel stays here.")])
    assert summarizer.summarize(document).sentences

    trained = load_file(output / "trainer" / "checkpoint-4" / "model.safetensors")
    names = {name: f"model.{name}" for name in first}
    assert any(not torch.equal(first[name], trained[names[name]]) for name in first)

    second = train(2)
    history = json.loads((output / "history.json").read_text())
    assert max(entry["step"] for entry in history) == 8
    assert [entry["step"] for entry in history if "eval_loss" in entry] == [2, 4, 6, 8]
    assert any(not torch.equal(first[name], second[name]) for name in first)
    average = torch.load(output / "trainer" / "checkpoint-8" / "average.pt", weights_only=True)
    assert int(average["n_averaged"]) == 8
    for name, weight in second.items():
        torch.testing.assert_close(weight, average[f"module.model.{name}"])


def test_examples_without_an_episode_or_too_long_are_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [
        {"ids": [1] * n, "episodes": episodes}
        for n, episodes in ((3, [[0]]), (4, []), (9, [[1]]), (5, [[2]]), (1, [[0]]))
    ]
    path = tmp_path / "train.parquet"
    Dataset.from_list(rows).to_parquet(path)
    assert list(load_examples(path)["n_tokens"]) == [3, 9, 5, 1]
    assert caplog.text == ""
    assert list(load_examples(path, max_tokens=5)["n_tokens"]) == [3, 5, 1]
    assert "1 documents are left out: longer than 5 tokens" in caplog.text
    assert list(load_examples(path, max_tokens=5, limit=2)["n_tokens"]) == [3, 5]


def test_no_examples_is_an_error_that_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"make them with `python -m finetune.prepare`"):
        load_examples(tmp_path / "train.parquet")
