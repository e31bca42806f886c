"""One check or one contestant of a race, measured: a row of the table of `eval.kernels`."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from eval.kernels_case import TOLERANCES, Check, Race, dtype_name, leaves_of
from kernels import ops

_COPIED_BYTES = 1 << 31
_MATRIX = 8192
_GIB = 2**30


def run_check(op: str, check: Check, device: torch.device) -> dict[str, Any]:
    """Compares outputs and gradients of the Triton backend with the reference's in float32.

    Returns:
        The largest errors, relative to the largest value, and whether they are tolerable.
    """
    torch.manual_seed(0)
    inputs = check.inputs(device)
    wide = torch.promote_types(check.dtype, torch.float32)
    with torch.set_grad_enabled(check.has_backward):
        actual = _evaluate(op, "triton", leaves_of(inputs), check.options)
        expected = _evaluate(op, "reference", leaves_of(inputs, wide), check.options)
    errors = [
        max((_error(one, other) for one, other in zip(*pair, strict=True)), default=0.0)
        for pair in zip(actual, expected, strict=True)
    ]
    ok = all(error <= most for error, most in zip(errors, TOLERANCES[check.dtype], strict=True))
    names = ("output_error", "gradient_error")
    return {
        "dtype": dtype_name(check.dtype),
        **{name: float(f"{error:.1e}") for name, error in zip(names, errors, strict=True)},
        "result": "ok" if ok else "WRONG",
    }


def run_contestant(race: Race, name: str, device: torch.device, seconds: float) -> dict[str, Any]:
    """Times forward, and forward with backward, for about so many seconds each.

    Returns:
        Medians in milliseconds, rates, and the peak of memory beyond the inputs.
    """
    torch.manual_seed(0)
    leaves = leaves_of(race.inputs(device))
    function = race.contestants[name]()
    row: dict[str, Any] = {}

    def forward() -> None:
        with torch.no_grad():
            function(*leaves)

    row["forward_ms"] = _milliseconds(forward, device, seconds)
    row |= _rates("forward", row["forward_ms"], race.forward_bytes, race.forward_flops)
    if race.has_backward:
        found = [leaf for leaf in leaves if leaf is not None and leaf.requires_grad]
        with torch.no_grad():
            gradients = [torch.randn_like(out) for out in _tuple(function(*leaves))]

        def both() -> None:
            torch.autograd.grad(_tuple(function(*leaves)), found, gradients, allow_unused=True)

        base = _start_peak(device)
        both()
        row["peak_gib"] = _peak_gib(device, base)
        row["both_ms"] = _milliseconds(both, device, seconds)
        n_bytes = race.forward_bytes + race.backward_bytes
        flops = race.forward_flops + race.backward_flops
        row |= _rates("both", row["both_ms"], n_bytes, flops)
    else:
        base = _start_peak(device)
        forward()
        row["peak_gib"] = _peak_gib(device, base)
    return row


def measure_limits(device: torch.device, seconds: float) -> dict[str, Any]:
    """What the device reaches: GB/s of a copy, read and write counted, and bf16 TFLOP/s."""
    is_gpu = device.type == "cuda"
    source = torch.empty(_COPIED_BYTES if is_gpu else 1 << 20, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    copy_ms = _milliseconds(lambda: target.copy_(source), device, seconds)
    size = _MATRIX if is_gpu else 128
    matrix = torch.randn(size, size, dtype=torch.bfloat16, device=device)
    product_ms = _milliseconds(lambda: matrix @ matrix, device, seconds)
    return {
        "copy_gb_s": round(2e-6 * source.numel() / copy_ms, 1),
        "bf16_tflop_s": round(2e-9 * size**3 / product_ms, 1),
    }


def _evaluate(
    op: str, backend: str, leaves: list[Any], options: dict[str, Any]
) -> tuple[list[Tensor], list[Tensor]]:
    outputs = _tuple(getattr(ops, op)(*leaves, backend=backend, **options))
    value = torch.zeros((), device=outputs[0].device)
    for out in outputs:
        if out.requires_grad:
            generator = torch.Generator(out.device).manual_seed(1)
            weights = torch.randn(out.shape, generator=generator, device=out.device)
            value = value + (out.float() * weights).sum()
    found = [leaf for leaf in leaves if leaf is not None and leaf.requires_grad]
    gradients = ()
    if value.requires_grad:
        gradients = torch.autograd.grad(value, found, allow_unused=True)
    return list(outputs), [item for item in gradients if item is not None]


def _error(actual: Tensor, expected: Tensor) -> float:
    """Largest difference relative to the largest value; infinite where numbers are missing."""
    scale = max(1.0, expected.abs().max().item())
    error = (actual.double() - expected.double()).abs().max().item() / scale
    return error if error == error else float("inf")


def _tuple(outputs: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return outputs if isinstance(outputs, tuple) else (outputs,)


def _milliseconds(call: Callable[[], object], device: torch.device, seconds: float) -> float:
    """Median of calls that take about so many seconds, after two; the first one's time for 0."""
    first = _time(call, device)
    if not seconds:
        return round(first, 4)
    first = _time(call, device)
    n_calls = max(3, min(200, int(1e3 * seconds / max(first, 1e-3))))
    return round(statistics.median(_time(call, device) for _ in range(n_calls)), 4)


def _time(call: Callable[[], object], device: torch.device) -> float:
    if device.type != "cuda":
        start = time.perf_counter()
        call()
        return 1e3 * (time.perf_counter() - start)
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    call()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end)


def _rates(name: str, milliseconds: float, n_bytes: int, flops: int) -> dict[str, Any]:
    rates: dict[str, Any] = {}
    if n_bytes:
        rates[f"{name}_gb_s"] = round(1e-6 * n_bytes / milliseconds, 1)
    if flops:
        rates[f"{name}_tflop_s"] = round(1e-9 * flops / milliseconds, 2)
    return rates


def _start_peak(device: torch.device) -> int:
    if device.type != "cuda":
        return 0
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    return torch.cuda.memory_allocated(device)


def _peak_gib(device: torch.device, base: int) -> float | None:
    if device.type != "cuda":
        return None
    torch.cuda.synchronize(device)
    return round((torch.cuda.max_memory_allocated(device) - base) / _GIB, 3)
