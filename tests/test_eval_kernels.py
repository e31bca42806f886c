from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
import torch
from interpreted import require_interpreter

from eval.kernels import main
from eval.kernels_case import Check
from eval.kernels_job import SUITES
from eval.kernels_measure import run_check
from eval.kernels_models import FIGURES, MODEL_JOBS, add_speedups
from eval.kernels_report import add_ratios, add_shares
from eval.kernels_worker import run_isolated
from kernels import ops
from kernels.triton_table import TABLE

REHEARSAL = ["--device", "cpu-interpreter", "--only", "sru_scan", "--contestants", "triton,eager"]


def test_without_a_gpu_it_says_what_is_needed(capsys: pytest.CaptureFixture[str]) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    assert main([]) == 1
    assert "eval.kernels: a CUDA device is needed" in capsys.readouterr().err


def test_a_job_that_fails_or_kills_its_process_is_a_row() -> None:
    jobs = [(int, ("seven",)), (os._exit, (3,)), (dict, ([("result", 7)],))]
    rows = list(run_isolated(jobs, {}, 60.0))
    assert rows[0]["error"].startswith("ValueError: invalid literal")
    assert rows[1] == {"error": "the process ended with status 3"}
    assert rows[2] == {"result": 7}


def test_a_job_that_hangs_is_a_row() -> None:
    assert list(run_isolated([(time.sleep, (60,))], {}, 0.1)) == [
        {"error": "no answer within 0.1 s"}
    ]


def test_shares_and_ratios() -> None:
    rows = [
        {"op": "scan", "case": "a", "contestant": "triton", "both_ms": 2.0, "both_gb_s": 1500.0},
        {"op": "scan", "case": "a", "contestant": "eager", "both_ms": 9.0, "both_gb_s": 333.0},
        {"op": "scan", "case": "b", "contestant": "eager", "error": "out of memory"},
    ]
    add_shares(rows, {"copy_gb_s": 3000.0})
    add_ratios(rows)
    assert [row.get("both_share") for row in rows] == [0.5, 0.111, None]
    assert [row.get("both_ratio") for row in rows] == [1.0, 4.5, None]


def test_wrong_results_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def scan(x: torch.Tensor, f: torch.Tensor, backend: str) -> torch.Tensor:
        return x * f if backend == "reference" else x * f + 1e-3 * f.square()

    monkeypatch.setattr(ops, "sru_scan", scan)
    check = Check("", torch.float32, lambda device: [torch.rand(3), torch.rand(3)])
    row = run_check("sru_scan", check, torch.device("cpu"))
    assert row["result"] == "WRONG"
    assert 1e-4 < row["output_error"] < 2e-3


@pytest.mark.parametrize("op", SUITES)
def test_every_suite_has_both_sizes(op: str) -> None:
    for tiny in (False, True):
        suite = SUITES[op](tiny)
        assert suite.checks
        assert all("triton" in race.contestants for race in suite.races)


@pytest.mark.parametrize("figure", FIGURES)
def test_figures_of_models_run_small(figure: str) -> None:
    jobs = [job for job in MODEL_JOBS if job.figure == figure]
    rows = [
        {"figure": figure, "system": job.system, **job.measure(torch.device("cpu"), True)}
        for job in jobs
    ]
    add_speedups(rows)
    assert all(row.get("seconds", row.get("step_ms")) > 0 for row in rows)
    if figure.startswith("decode"):
        assert [row["system"] for row in rows] == ["sparse", "dense"]
        ratio = rows[1]["step_ms"] / rows[0]["step_ms"]
        assert rows[0]["dense_over_sparse"] == pytest.approx(ratio, abs=0.006)


def test_an_unknown_figure_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--models", "decode-9b"])
    assert "'decode-9b' is not one of decode-800m-graph-ctx128" in capsys.readouterr().err


def test_rehearsal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    require_interpreter()
    report = tmp_path / "kernels.json"
    assert main([*REHEARSAL, "--report", str(report)]) == 0
    values = json.loads(report.read_text())
    assert [row["result"] for row in values["checks"]] == ["ok"]
    assert [row["contestant"] for row in values["races"]] == ["triton", "eager"]
    assert all(row["both_ms"] > 0 for row in values["races"])
    assert "Triton's interpreter" in capsys.readouterr().out


def test_tuning_writes_the_table(tmp_path: Path) -> None:
    require_interpreter()
    path = tmp_path / "table.py"
    assert main([*REHEARSAL, "--tune", str(path)]) == 0
    module: dict[str, object] = {}
    exec(path.read_text(), module)
    assert module["ORIGIN"].startswith("sru_scan (2, 1024): measured on Triton's interpreter")
    table = module["TABLE"]
    assert table["sru_scan"].pop((2, 1024)) in ((4, 2, 1, 1), (8, 2, 1, 1))
    expected = {kernel: dict(entries) for kernel, entries in TABLE.items()}
    del expected["sru_scan"][2, 1024]
    assert table == expected
