"""The jobs of `eval.kernels`: every check and every contestant of every race, by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from eval import (
    kernels_convolutional_qkv,
    kernels_expert_feed_forward,
    kernels_lsh_attention,
    kernels_sparse_feed_forward,
    kernels_sru_scan,
    kernels_vocabulary_loss,
)
from eval.kernels_measure import measure_limits, run_check, run_contestant
from eval.kernels_models import MODEL_JOBS
from eval.kernels_worker import Job
from kernels.triton_launch import Launch, force_launch

SUITES = {
    "lsh_attention": kernels_lsh_attention.suite,
    "sru_scan": kernels_sru_scan.suite,
    "sparse_feed_forward": kernels_sparse_feed_forward.suite,
    "sparse_feed_forward_step": kernels_sparse_feed_forward.step_suite,
    "convolutional_qkv": kernels_convolutional_qkv.suite,
    "expert_feed_forward": kernels_expert_feed_forward.suite,
    "vocabulary_loss": kernels_vocabulary_loss.suite,
}


@dataclass(frozen=True)
class Place:
    """Where jobs run: device type, tiny inputs or not, and seconds for a timing."""

    device: str
    tiny: bool
    seconds: float


def check_jobs(ops: Sequence[str], place: Place) -> list[tuple[dict[str, Any], Job]]:
    """Checks of operations, each with the columns that name it."""
    return [
        ({"op": op, "case": check.case}, (check_job, (op, i, place)))
        for op in ops
        for i, check in enumerate(SUITES[op](place.tiny).checks)
    ]


def race_jobs(
    ops: Sequence[str], contestants: Sequence[str] | None, place: Place
) -> list[tuple[dict[str, Any], Job]]:
    """Contestants of races, of all names or of those given, with the columns that name them."""
    return [
        ({"op": op, "case": race.case, "contestant": name}, (race_job, (op, i, name, place)))
        for op in ops
        for i, race in enumerate(SUITES[op](place.tiny).races)
        for name in race.contestants
        if contestants is None or name in contestants
    ]


def limits_job(place: Place) -> dict[str, Any]:
    """Runs `measure_limits` and names what it ran on."""
    import triton

    device = torch.device(place.device)
    is_gpu = device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(device) if is_gpu else "Triton's interpreter",
        "torch": torch.__version__,
        "triton": triton.__version__,
        **measure_limits(device, place.seconds),
    }


def prepare(place: Place) -> torch.device:
    """Readies the process for a job; the interpreter joins the steps of a scan one by one."""
    if place.tiny:
        force_launch("sru_scan", Launch(4, 2, 1, 1))
    return torch.device(place.device)


def check_job(op: str, index: int, place: Place) -> dict[str, Any]:
    """Runs one check."""
    return run_check(op, SUITES[op](place.tiny).checks[index], prepare(place))


def race_job(op: str, index: int, contestant: str, place: Place) -> dict[str, Any]:
    """Runs one contestant of a race."""
    race = SUITES[op](place.tiny).races[index]
    return run_contestant(race, contestant, prepare(place), place.seconds)


def model_jobs(figures: Sequence[str], place: Place) -> list[tuple[dict[str, Any], Job]]:
    """Figures of whole models, with the columns that name them."""
    return [
        ({"figure": job.figure, "system": job.system}, (model_job, (i, place)))
        for i, job in enumerate(MODEL_JOBS)
        if job.figure in figures
    ]


def model_job(index: int, place: Place) -> dict[str, Any]:
    """Measures one figure's system."""
    return MODEL_JOBS[index].measure(prepare(place), place.tiny)


def limits_jobs(place: Place) -> list[tuple[dict[str, Any], Job]]:
    """The one job that measures the device itself."""
    return [({}, (limits_job, (place,)))]
