"""The SRU recurrence in `eval.kernels`: its checks, and its races against scans in PyTorch."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from eval.kernels_case import Check, Function, Race, Suite, dtype_name
from kernels import ops
from kernels.sru_scan import cpu


def suite(tiny: bool) -> Suite:
    """Checks of every precision; races at 4k to 256k tokens, limited by memory bandwidth."""
    if tiny:
        check = Check("L20 D2", torch.float32, partial(_inputs, 1, 20, 2, torch.float32), {})
        return Suite("sru_scan", [check], [_race(1, 20, 2, torch.float32, ("compile",))])
    checks = [
        Check(f"B2 L{length} D{width}", dtype, partial(_inputs, 2, length, width, dtype))
        for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16)
        for length, width in ((2_000, 1000), (501, 30))
    ]
    races = [
        _race(1, 4_096, 1024, torch.bfloat16, ()),
        _race(1, 65_536, 1024, torch.bfloat16, ("compile",)),
        _race(1, 262_144, 1024, torch.bfloat16, ("compile",)),
        _race(1, 65_536, 1024, torch.float32, ("compile",)),
    ]
    return Suite("sru_scan", checks, races)


def _inputs(
    batch: int, length: int, width: int, dtype: torch.dtype, device: torch.device
) -> list[Tensor | None]:
    x = torch.randn(batch, length, width, device=device).to(dtype)
    f = torch.randn(batch, length, width, device=device).mul(3).sigmoid().to(dtype)
    return [x, f, torch.randn(batch, width, device=device)]


def _race(batch: int, length: int, width: int, dtype: torch.dtype, skip: tuple[str, ...]) -> Race:
    contestants = {
        "triton": lambda: partial(ops.sru_scan, backend="triton"),
        "eager": lambda: cpu.sru_scan,
        "compile": _compiled,
    }
    n_bytes = batch * length * width * dtype.itemsize
    return Race(
        f"B{batch} L{length} D{width} {dtype_name(dtype)}",
        partial(_inputs, batch, length, width, dtype),
        {name: build for name, build in contestants.items() if name not in skip},
        forward_bytes=3 * n_bytes,
        backward_bytes=6 * n_bytes,
    )


def _compiled() -> Function:
    """The blocked scan compiled: its loops over time are unrolled."""
    return torch.compile(cpu.sru_scan)
