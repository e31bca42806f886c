"""The command `python -m eval.memory`: what it measures, and that it tells the truth."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from torch import Tensor, nn

from eval import memory, memory_systems
from eval.measured_process import Measurement, Refusal, Work, measure
from eval.memory_systems import STACKS, SYSTEMS, Sizes, prepare_stack, prepare_system
from eval.table import format_rows

MIB = 2**20
TINY = Sizes(n_layers=1, d_model=32, d_ff=64, n_heads=2, vocab_size=128, n_source=128, n_target=64)
PIECES_OF_WORK = """
import time
import torch
from eval.measured_process import Work

def allocate(n_before, n_during):
    torch.ones(n_before << 18)  # gone before the run begins
    kept = torch.ones(n_before << 17)
    return Work(lambda: (kept, torch.ones(n_during << 18)), 7)

def sleep(seconds):
    return Work(lambda: time.sleep(seconds), 0)

def fail():
    raise ValueError("wrong size\\nand more")
"""


@pytest.fixture(scope="module")
def pieces_of_work(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """A module that a fresh process can import."""
    folder = tmp_path_factory.mktemp("work")
    (folder / "pieces_of_work.py").write_text(PIECES_OF_WORK)
    sys.path.insert(0, str(folder))
    try:
        import pieces_of_work  # pyright: ignore[reportMissingImports]

        yield pieces_of_work
    finally:
        sys.path.remove(str(folder))


def _measure(prepare: Callable[..., Work], *arguments: object, **limits: Any) -> Any:
    usual = {"limit_bytes": 8 << 30, "limit_seconds": 60.0, "threads": 1}
    return measure(prepare, *arguments, **(usual | limits))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux sets the mark of memory back")
def test_the_peak_is_that_of_the_run_alone(pieces_of_work: ModuleType) -> None:
    result = _measure(pieces_of_work.allocate, 400, 150)
    assert result.n_parameters == 7
    # The system counts pages in lots, so the difference may be a little less.
    assert 149 * MIB <= result.run_bytes < 180 * MIB
    assert result.before_bytes > 200 * MIB  # what was kept, and the code
    assert 0 < result.seconds < 30


def test_a_process_over_a_limit_is_killed(pieces_of_work: ModuleType) -> None:
    result = _measure(pieces_of_work.sleep, 1000, limit_seconds=0.3)
    assert result == Refusal("over 0.005 minutes")
    result = _measure(pieces_of_work.sleep, 1000, limit_bytes=64 * MIB)
    assert result == Refusal("over 0.0625 GiB")


def test_an_error_is_told_in_one_line(pieces_of_work: ModuleType) -> None:
    assert _measure(pieces_of_work.fail) == Refusal("ValueError: wrong size")


@pytest.mark.parametrize("name", [*SYSTEMS, *STACKS])
def test_a_step_is_a_training_step(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[nn.Module, Callable[[], Tensor]]] = []

    def keep(model: nn.Module, loss: Callable[[], Tensor]) -> Work:
        made.append((model, loss))
        return work_of(model, loss)

    work_of = memory_systems._work
    monkeypatch.setattr(memory_systems, "_work", keep)
    monkeypatch.setattr(memory_systems, "_TINY", TINY)
    work = prepare_stack(name, TINY) if name in STACKS else prepare_system(name, TINY)
    model, loss = made[-1]
    assert model.training
    assert work.n_parameters == sum(p.numel() for p in model.parameters())
    if name in SYSTEMS:
        assert loss().item() < 1.5 * math.log(TINY.vocab_size)
    work.run()
    without = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == (["lm_head.bias"] if name == "reformer" else [])  # which it does not use


def _pretend(n_most_tokens: int) -> Callable[..., Measurement | Refusal]:
    """Measures nothing: a step takes 1 MiB a layer and 1 KiB a token."""

    def measured(
        prepare: Callable[..., Work], name: str, sizes: Sizes, **limits: Any
    ) -> Measurement | Refusal:
        if sizes.n_source > n_most_tokens:
            return Refusal(f"over {limits['limit_bytes'] / 2**30:.3g} GiB")
        taken = sizes.n_layers * MIB + sizes.n_source * 1024
        return Measurement(5_000_000, 2.5, 100 * MIB, 100 * MIB + taken)

    return measured


def test_depths_are_told_by_their_growth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "measure", _pretend(10**9))
    rows = memory.measure_layers((2, 6, 24), ("standard",), replace(TINY, n_source=2048))
    assert [row["layers"] for row in rows] == [2, 6, 24]
    assert [row["growth"] for row in rows] == [1.0, 2.0, 6.5]
    monkeypatch.setattr(memory, "measure", _pretend(0))
    rows = memory.measure_layers((2, 6), ("standard",), TINY, limit_bytes=MIB)
    assert [row["growth"] for row in rows] == [None, None]
    assert "–" in format_rows(rows)


def test_a_system_gets_the_longest_document_that_it_manages(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memory, "measure", _pretend(3000))
    sizes = replace(TINY, n_source=65536)
    rows = memory.measure_systems(("led", "reformer"), sizes, limit_bytes=8 << 30)
    for name in ("led", "reformer"):
        tried = [row for row in rows if row["system"] == name]
        assert [row["tokens"] for row in tried] == [65536, 32768, 16384, 8192, 4096, 2048]
        assert [row["note"] for row in tried] == ["over 8 GiB"] * 5 + [""]
        assert tried[-1]["step_gib"] == pytest.approx(2.001 / 1024 * 1.5, abs=1e-3)


def test_rows_are_printed_and_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = tmp_path / "memory.json"
    small = "--d-model 128 --heads 2 --layers 1 --vocab-size 512 --tokens 4096 --target-tokens 64"
    words = ["models", "--systems", "terraformer", "--threads", "1", "--limit-gib", "4"]
    assert memory.main([*words, *small.split(), "--report", str(report)]) == 0
    values = json.loads(report.read_text())
    (row,) = values["models"]
    assert (row["system"], row["tokens"], row["note"]) == ("terraformer", 4096, "")
    assert row["total_gib"] > row["step_gib"] > 0
    assert values["config"]["tokens"] == 4096
    assert "layers" not in values
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].split() == list(row)
    assert printed[1].split()[:2] == ["terraformer", "4096"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--tokens", "1000"], "--tokens (1000) must be a multiple of 64"),
        (["models", "--systems", "gpt"], "unknown system gpt; known: terraformer, led"),
        (["nothing"], "invalid choice: 'nothing'"),
    ],
)
def test_wrong_usage_is_told(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        memory.main(words)
    assert message in capsys.readouterr().err


def test_both_tables_are_the_default(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr(memory, "measure", _pretend(10**9))
    assert memory.main([]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in [*STACKS, *SYSTEMS])
