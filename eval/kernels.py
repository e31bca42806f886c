"""Command `python -m eval.kernels`: the Triton kernels checked and timed on a GPU."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from eval.command import positive, require_folder_of
from eval.kernels_job import SUITES, Place, check_jobs, limits_jobs, model_jobs, race_jobs
from eval.kernels_models import FIGURES, add_speedups
from eval.kernels_report import Row, add_ratios, add_shares
from eval.kernels_worker import Job, run_isolated
from eval.table import describe_machine, format_rows, write_rows
from finetune.command import exit_status
from kernels.triton_support import needs_triton
from terraformer.errors import TerraformerError

INTERPRETER = "cpu-interpreter"
_JOB_SECONDS = 90.0
_MODEL_SECONDS = 240.0
_TIMING_SECONDS = 0.25


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status."""
    options = _parser().parse_args(arguments)
    return exit_status("eval.kernels", lambda: _run(options))


def _run(options: argparse.Namespace) -> None:
    require_folder_of(options.report)
    require_folder_of(options.tune)
    is_tiny = options.device == INTERPRETER
    if not is_tiny:
        reason = needs_triton(torch.device("cuda"))
        if reason is not None:
            raise TerraformerError(
                f"a CUDA device is needed: {reason}; --device {INTERPRETER} rehearses the whole on "
                "tiny inputs"
            )
    place = Place("cpu" if is_tiny else "cuda", is_tiny, 0.0 if is_tiny else _TIMING_SECONDS)
    runner = _Runner({"TRITON_INTERPRET": "1"} if is_tiny else {}, 60.0 * options.minutes)
    if options.tune:
        from eval.kernels_tuning import tune

        options.tune.write_text(tune(runner.rows, options.only, place), encoding="utf-8")
        return
    limits = next(runner.rows(limits_jobs(place)))
    print(format_rows([limits]), flush=True)
    checks = list(runner.rows(check_jobs(options.only, place)))
    print(format_rows(checks), flush=True)
    races = list(runner.rows(race_jobs(options.only, options.contestants, place)))
    add_shares(races, limits)
    add_ratios(races)
    print(format_rows(races), flush=True)
    models = list(runner.rows(model_jobs(options.models, place), _MODEL_SECONDS))
    if models:
        add_speedups(models)
        print(format_rows(models), flush=True)
    if options.report:
        config = {"seconds": round(runner.seconds, 1), "limits": limits, **describe_machine()}
        write_rows(options.report, config, checks=checks, races=races, models=models)
    n_failed = sum("error" in row or row["result"] != "ok" for row in checks)
    if n_failed:
        raise TerraformerError(f"{n_failed} of {len(checks)} checks failed: see the table")


class _Runner:
    """Runs jobs apart from one another as long as there is time; others say that there was none."""

    def __init__(self, environment: dict[str, str], limit_seconds: float) -> None:
        self._environment = environment
        self._limit_seconds = limit_seconds
        self._start = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._start

    def rows(
        self, jobs: Sequence[tuple[Row, Job]], job_seconds: float = _JOB_SECONDS
    ) -> Iterator[Row]:
        """Yields one row a job: the columns that name it, and what it returned or its error."""
        names = [name for name, _ in jobs]
        in_time = (job for _, job in jobs if self.seconds < self._limit_seconds)
        n_done = 0
        for row in run_isolated(in_time, self._environment, job_seconds):
            print(_progress(names[n_done], row, self.seconds), file=sys.stderr, flush=True)
            yield names[n_done] | row
            n_done += 1
        for name in names[n_done:]:
            yield name | {"error": f"left out: {self._limit_seconds:.0f} s are over"}


def _progress(name: Row, row: Row, seconds: float) -> str:
    words = " ".join(map(str, name.values())) or "limits"
    return f"[{seconds:5.0f} s] {words}: {row.get('error', 'done')}"


def _ops(text: str) -> list[str]:
    names = [part.strip() for part in text.split(",") if part.strip() != "none"]
    for name in names:
        if name not in SUITES:
            raise argparse.ArgumentTypeError(f"{name!r} is not one of {', '.join(SUITES)}")
    return names


def _figures(text: str) -> list[str]:
    names = list(FIGURES) if text == "all" else [part.strip() for part in text.split(",")]
    for name in names:
        if name not in FIGURES:
            raise argparse.ArgumentTypeError(f"{name!r} is not one of {', '.join(FIGURES)}")
    return names


def _words(text: str) -> list[str]:
    return [part.strip() for part in text.split(",")]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m eval.kernels",
        description="Checks every Triton kernel against its reference on a GPU, then times it "
        "beside PyTorch eager, torch.compile, SDPA and flex_attention. Each job has a process "
        "that an error does not outlive. ratio: time relative to the Triton kernel's; share: of "
        "the bandwidth or matrix rate measured first. Tables go to stdout, progress to stderr.",
    )
    parser.add_argument(
        "--device",
        choices=("cuda", INTERPRETER),
        default="cuda",
        help="cpu-interpreter: rehearse with tiny inputs in Triton's interpreter",
    )
    parser.add_argument(
        "--only",
        type=_ops,
        default=list(SUITES),
        metavar="OP,OP,…",
        help=f"operations, or none (default: {','.join(SUITES)})",
    )
    parser.add_argument(
        "--models",
        type=_figures,
        default=[],
        metavar="FIGURE,…",
        help=f"figures of whole models, after the kernels, or all: {', '.join(FIGURES)}",
    )
    parser.add_argument(
        "--contestants", type=_words, metavar="NAME,NAME,…", help="in races (default: all)"
    )
    parser.add_argument(
        "--minutes",
        type=positive,
        default=5,
        metavar="N",
        help="no job begins after so long (default: %(default)s)",
    )
    parser.add_argument(
        "--tune",
        type=Path,
        metavar="FILE",
        help="instead, try settings of each kernel and write kernels/triton_table.py anew, as FILE",
    )
    parser.add_argument("--report", type=Path, metavar="FILE", help="write the rows there as JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main())
