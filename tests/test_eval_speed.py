"""The command `python -m eval.speed` on small models and documents."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from eval import speed, speed_encode
from eval.encoders import ENCODERS, EncoderSizes, prepare_encoder
from eval.measured_process import Measurement, Refusal
from eval.memory_systems import Sizes
from eval.speed import main
from eval.speed_encode import measure_encode, plot_encode
from eval.synthetic import synthetic_document

TINY = EncoderSizes(n_layers=1, d_model=32, d_ff=64, n_heads=2, vocab_size=512, n_tokens=1024)


def test_synthetic_documents_have_the_words_asked_for() -> None:
    for n_words in (200, 5_000):
        document = synthetic_document(n_words)
        assert document.n_words == n_words
        assert len(document.sections) == 5
        assert n_words / 32 <= len(document.sentences) <= n_words / 12
    assert synthetic_document(500) == synthetic_document(500)
    assert synthetic_document(500) != synthetic_document(500, seed=1)


def test_summaries_are_timed(
    tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "speed.json"
    sizes = ["--model", str(tiny_checkpoint), "--sizes", "200,700", "--repeats", "2"]
    assert main(["summarize", *sizes, "--report", str(report)]) == 0
    values = json.loads(report.read_text())
    assert [row["words"] for row in values["rows"]] == [200, 700]
    assert all(row["ours_ms"] > 0 and row["ours_n"] == 2 for row in values["rows"])
    assert values["config"]["model"] == tiny_checkpoint.name
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 3
    assert {"name", "words", "sentences", "tokens", "ours_ms"} <= set(printed[0].split())


def test_training_steps_are_compared(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(speed, "Sizes", lambda: Sizes(1, 32, 64, 2, 512, 1024, 64))
    report = tmp_path / "train.json"
    arguments = ["train", "--sizes", "1024", "--systems", "led", "--repeats", "1"]
    assert main([*arguments, "--report", str(report)]) == 0
    (row,) = json.loads(report.read_text())["rows"]
    assert row["name"] == "train-1024-vs-led"
    assert row["ratio"] == pytest.approx(row["baseline_ms"] / row["ours_ms"], rel=0.02)


@pytest.mark.parametrize("name", ENCODERS)
def test_encoders_encode_whole_documents(name: str) -> None:
    model = ENCODERS[name](TINY).eval()
    with torch.inference_mode():
        out = model(torch.randint(3, 512, (1, TINY.n_tokens)))
    states = out if isinstance(out, torch.Tensor) else out.last_hidden_state
    assert states.shape[:2] == (1, TINY.n_tokens)
    assert states.isfinite().all()
    assert prepare_encoder(name, TINY).n_parameters == sum(p.numel() for p in model.parameters())


def test_encoders_are_compared_as_far_as_they_go(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def measured(prepare: object, name: str, sizes: EncoderSizes, **limits: Any) -> object:
        if name == "led" and sizes.n_tokens > 1024:
            return Refusal("over 8 GiB")
        mib = {"terraformer": 3, "full-attention": 6}.get(name, 9)
        return Measurement(1000, 0.1, 5 << 20, (5 + mib) << 20)

    monkeypatch.setattr(speed_encode, "measure", measured)
    rows = measure_encode((1024, 2048, 4096), ("full-attention", "led"), TINY, 1, 1 << 30, 9.0)
    assert [row["name"] for row in rows] == [
        "encode-1024-vs-full-attention",
        "encode-1024-vs-led",
        "encode-2048-vs-full-attention",
        "encode-2048-vs-led",
        "encode-4096-vs-full-attention",
    ]
    assert [row["memory_ratio"] for row in rows] == [2.0, 3.0, 2.0, None, 2.0]
    assert rows[3]["baseline_ms"] is None
    assert rows[3]["note"] == "led: over 8 GiB"
    assert all(row["ratio"] > 0 for row in rows if row["ratio"] is not None)
    plot_encode(tmp_path / "encode.svg", rows)
    assert "full-attention" in (tmp_path / "encode.svg").read_text()


def test_errors_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["summarize", "--model", str(tmp_path)]) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("eval.speed: no checkpoint")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["decode", "--figures", "decode-900m"], "must be one of"),
        (["encode", "--sizes", "1000"], "multiples of 64"),
        (["encode", "--systems", "terraformer"], "must be one of"),
    ],
)
def test_wrong_usage_says_the_way_out(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
