"""What a selected cache costs: laws on untrained models, and the command from papers to report."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from datasets import Dataset

from eval.selected_cache import compare_caches, full_nats, main, step_nats, variants
from eval.synthetic import synthetic_document
from terraformer.attention_config import FullAttentionConfig
from terraformer.checkpoint import load_model, save_checkpoint
from terraformer.config import LanguageModelConfig
from terraformer.feed_forward_config import DenseFFConfig
from terraformer.language_model import LanguageModel
from terraformer.position_config import LearnedPositionsConfig
from terraformer.selected_cache import SelectedCacheConfig
from terraformer.stack_config import StackConfig

STACK = StackConfig(1, FullAttentionConfig(2), DenseFFConfig(16), residual="standard")
CONFIG = LanguageModelConfig(400, 16, STACK, positions=LearnedPositionsConfig(max_len=64))
CACHE = SelectedCacheConfig(n_first=1, n_recent=4, n_hashes=2, n_buckets=8, n_per_bucket=2)


def build() -> LanguageModel:
    model = LanguageModel(CONFIG).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "w_q" in name or "w_k" in name:
                weight.mul_(2.0)  # attention that chooses a little
    return model


@pytest.fixture
def windows() -> list[torch.Tensor]:
    return list(torch.randint(400, (3, 50)))


def test_reading_all_by_steps_is_full_attention(
    windows: list[torch.Tensor], assert_near: Callable[..., None]
) -> None:
    model = build()
    full = full_nats(model, windows)
    assert_near(step_nats(model, None, windows), full)
    assert_near(step_nats(model, replace(CACHE, n_recent=50), windows), full)
    assert full.mean() == pytest.approx(model.loss(torch.stack(windows)).item(), abs=1e-4)


def test_rows_tell_what_reading_less_costs(windows: list[torch.Tensor]) -> None:
    model = build()
    full, *rows = compare_caches(model, variants(CACHE), windows)
    assert full["more"] == full["late_more"] == 0.0
    assert full["reads"] == 50
    names = ["selected", "selected, no rest", "window and rest", "window"]
    assert [row["cache"] for row in rows] == names
    for row, config in zip(rows, variants(CACHE).values(), strict=True):
        nats = step_nats(model, config, windows)
        assert row["reads"] == CACHE.n_read == config.n_read
        assert row["nats"] == pytest.approx(float(nats.mean()), abs=1e-4)
        assert row["late_nats"] == pytest.approx(float(nats[:, 25:].mean()), abs=1e-4)
        assert row["more"] == pytest.approx(row["nats"] - full["nats"], abs=2e-4)
        assert row["more_error"] > 0.0
    assert len({row["late_nats"] for row in rows}) == 4


@pytest.fixture
def folder(tmp_path: Path, tiny_checkpoint: Path) -> Path:
    """A language model, and papers to read."""
    save_checkpoint(tmp_path / "model", build(), tiny_checkpoint / "tokenizer.model")
    rows = [
        {"id": f"x:{i}", "origin": "plos", "abstract": "None.", "title": ""}
        | {"sections": [{"heading": "Text", "text": synthetic_document(n, i).text}]}
        for i, n in enumerate((300, 5, 300, 300))
    ]
    Dataset.from_list(rows).to_parquet(tmp_path / "validation.parquet")
    return tmp_path


def command(folder: Path, *more: str) -> int:
    words = [str(folder / "model"), "--data", str(folder), "--n-recent", "4", "--n-hashes", "2"]
    return main([*words, *more])


def test_the_command_reads_papers_and_reports(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = folder / "report.json"
    words = ["--windows", "3", "--length", "40", "--no-mean-of-rest", "--report", str(report)]
    assert command(folder, *words) == 0
    written = json.loads(report.read_text())
    assert written["config"]["cache"]["n_recent"] == 4
    assert written["config"]["cache"]["mean_of_rest"] is False
    assert [row["cache"] for row in written["rows"]][:2] == ["full", "selected"]
    assert len(capsys.readouterr().out.splitlines()) == 6


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--length", "65"], "the model has 64 positions"),
        (["--length", "64", "--windows", "4"], "only 3 validation papers have 64 tokens"),
    ],
)
def test_what_a_user_can_mend(
    words: list[str], message: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(folder, *words) == 1
    assert message in capsys.readouterr().err


def test_sizes_and_models_that_do_not_fit(
    tiny_checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main([str(tiny_checkpoint), "--n-buckets", "7"])
    assert "n_buckets (7) must be even" in capsys.readouterr().err
    assert not isinstance(load_model(tiny_checkpoint)[0], LanguageModel)
    assert main([str(tiny_checkpoint)]) == 1
    assert "holds a Terraformer" in capsys.readouterr().err
