"""Which launch settings of a kernel are the fastest, found by trying; the table written anew."""

from __future__ import annotations

import itertools
import pprint
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import torch

from eval.kernels_job import SUITES, Place, limits_jobs
from eval.kernels_measure import run_contestant
from eval.kernels_worker import Job
from kernels import triton_table
from kernels.triton_launch import Launch, force_launch

Rows = Callable[[Sequence[tuple[dict[str, Any], Job]]], Iterator[dict[str, Any]]]

_PRODUCTS = [(128, 64, 4, 3), (128, 64, 4, 4), (64, 128, 4, 3), (128, 128, 4, 3)]
_PRODUCTS += [(128, 128, 8, 3), (128, 128, 8, 4), (128, 256, 8, 3), (256, 128, 8, 3)]
_CONVOLUTIONS = list(itertools.product((64, 128), (32, 64), (4, 8), (2, 3)))
_CANDIDATES: dict[str, Iterable[tuple[int, int, int, int]]] = {
    "lsh_attention_fwd": itertools.product((64, 128), (32, 64, 128), (4, 8), (2, 3)),
    "lsh_attention_bwd": itertools.product((32, 64, 128), (32, 64), (4, 8), (1, 2)),
    "sru_scan": itertools.product((4, 8, 16), (64, 128, 256), (1, 2), (1,)),
    "sparse_feed_forward": itertools.product((16, 32, 64, 128), (64,), (2, 4, 8), (1,)),
    "sparse_feed_forward_units": itertools.product((1, 2, 4, 8), (256, 1024), (2, 4, 8), (1,)),
    "sparse_feed_forward_out": itertools.product((32, 64, 128), (16, 32, 64), (2, 4, 8), (1,)),
    "multiplicative_fwd": _PRODUCTS,
    "multiplicative_dx": _PRODUCTS,
    "multiplicative_dw": _PRODUCTS,
    "convolutional_qkv_fwd": _CONVOLUTIONS,
    "convolutional_qkv_dx": _CONVOLUTIONS,
    "convolutional_qkv_dw": _CONVOLUTIONS,
    "expert_feed_forward_fwd": _PRODUCTS,
    "expert_feed_forward_dx": _PRODUCTS,
    "expert_feed_forward_dw": _PRODUCTS,
    "vocabulary_loss_fwd": _PRODUCTS,
    "vocabulary_loss_bwd": _PRODUCTS,
}
_TUNED: dict[str, tuple[str, tuple[int, int], str]] = {
    "lsh_attention_fwd": ("lsh_attention", (2, 64), "forward_ms"),
    "lsh_attention_bwd": ("lsh_attention", (2, 64), "both_ms"),
    "sru_scan": ("sru_scan", (2, 1024), "both_ms"),
    "sparse_feed_forward": ("sparse_feed_forward", (2, 64), "both_ms"),
    "sparse_feed_forward_units": ("sparse_feed_forward_step", (2, 1024), "forward_ms"),
    "sparse_feed_forward_out": ("sparse_feed_forward_step", (2, 1024), "forward_ms"),
    "multiplicative_fwd": ("convolutional_qkv", (2, 1024), "forward_ms"),
    "multiplicative_dx": ("vocabulary_loss", (2, 1024), "both_ms"),
    "multiplicative_dw": ("vocabulary_loss", (2, 1024), "both_ms"),
    "convolutional_qkv_fwd": ("convolutional_qkv", (2, 64), "forward_ms"),
    "convolutional_qkv_dx": ("convolutional_qkv", (2, 64), "both_ms"),
    "convolutional_qkv_dw": ("convolutional_qkv", (2, 64), "both_ms"),
    "expert_feed_forward_fwd": ("expert_feed_forward", (2, 4096), "forward_ms"),
    "expert_feed_forward_dx": ("expert_feed_forward", (2, 4096), "both_ms"),
    "expert_feed_forward_dw": ("expert_feed_forward", (2, 4096), "both_ms"),
    "vocabulary_loss_fwd": ("vocabulary_loss", (2, 1024), "forward_ms"),
    "vocabulary_loss_bwd": ("vocabulary_loss", (2, 1024), "both_ms"),
}
"""By kernel: its operation, the entry of the table that its race stands for, and what is best."""


def tune(rows: Rows, ops: Sequence[str], place: Place) -> str:
    """Tries settings in the second race of each operation, or its only one.

    Args:
        rows: Runs jobs apart from one another.
        ops: Operations whose kernels are tuned.
        place: Where.
    Returns:
        The text of `kernels/triton_table.py` with the fastest settings; entries that no race
        stands for stay as they are.
    """
    table = {kernel: dict(entries) for kernel, entries in triton_table.TABLE.items()}
    tuned = []
    for kernel, (op, entry, column) in _TUNED.items():
        if op not in ops:
            continue
        tried = [(4, 2, 1, 1), (8, 2, 1, 1)] if place.tiny else list(_CANDIDATES[kernel])
        jobs = [
            ({"kernel": kernel, "launch": item}, (try_job, (kernel, item, place))) for item in tried
        ]
        found = {row["launch"]: row[column] for row in rows(jobs) if column in row}
        if found:
            table[kernel][entry] = min(found, key=lambda item: found[item])
            tuned.append(f"{kernel} {entry}")
    limits = next(rows(limits_jobs(place)))
    origin = f"{', '.join(tuned) or 'none'}: measured on {limits.get('device')}, torch "
    origin += f"{limits.get('torch')}, Triton {limits.get('triton')}; others: {triton_table.ORIGIN}"
    return _module(origin, table)


def try_job(kernel: str, launch: tuple[int, int, int, int], place: Place) -> dict[str, Any]:
    """Times a kernel's race with given settings."""
    races = SUITES[_TUNED[kernel][0]](place.tiny).races
    force_launch(kernel, Launch(*launch))
    race = races[min(1, len(races) - 1)]
    return run_contestant(race, "triton", torch.device(place.device), place.seconds)


def _module(origin: str, table: dict[str, Any]) -> str:
    layout = partial(pprint.pformat, width=96, sort_dicts=False)
    kind = "dict[str, dict[tuple[int, int], tuple[int, int, int, int]]]"
    return (
        f'"""{triton_table.__doc__}"""\n\n'
        "from __future__ import annotations\n\n"
        f"ORIGIN = {origin!r}\n"
        '"""Where the settings come from."""\n\n'
        f"TABLE: {kind} = {layout(table)}\n"
        '"""By kernel, then (bytes of an element, widest row): rows and columns of a block, warps, '
        'stages."""\n'
    )
