"""Convolutional queries, keys and values in `eval.kernels`: checks, and races against PyTorch."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from eval.kernels_case import Check, Race, Suite, dtype_name
from kernels import ops
from kernels.convolutional_qkv.reference import convolutional_qkv as reference

_N_BACK, _N_AROUND = 3, 3
_Sizes = tuple[int, int, int, int]  # examples, length, modules, width of a module


def suite(tiny: bool) -> Suite:
    """Checks of every precision; races at the widths of terraformer-800m and terraformer-17b."""
    if tiny:
        sizes = (1, 10, 2, 5)
        checks = [_check(sizes, torch.float32), _check(sizes, torch.float16)]
        return Suite("convolutional_qkv", checks, [_race(sizes, torch.float32, ("compile",))])
    checks = [
        _check((2, 2_001, 16, 64), dtype)
        for dtype in (torch.float32, torch.float16, torch.bfloat16)
    ]
    checks += [
        _check((1, 501, 8, 144), torch.bfloat16),
        _check((2, 101, 3, 20), torch.float64),
    ]
    races = [
        _race(sizes, torch.bfloat16, skip)
        for sizes, skip in (
            ((1, 4_096, 16, 64), ()),
            ((1, 16_384, 16, 64), ("compile",)),
            ((1, 4_096, 64, 144), ("compile",)),
        )
    ]
    return Suite("convolutional_qkv", checks, races)


def _inputs(sizes: _Sizes, dtype: torch.dtype, device: torch.device) -> list[Tensor | None]:
    batch, length, n_modules, d_module = sizes
    width = n_modules * d_module
    around = (d_module, _N_BACK, _N_AROUND, d_module)
    fan_in = _N_BACK * _N_AROUND * d_module
    shapes = (
        ((batch, length, width), 1.0),
        ((d_module, width), width**-0.5),
        ((n_modules, width), 1.0),
        ((width,), 1.0),
        (around, fan_in**-0.5),
        ((d_module,), 1.0),
        ((d_module, _N_BACK, 1, d_module), (_N_BACK * d_module) ** -0.5),
        ((d_module,), 1.0),
        (around, fan_in**-0.5),
        ((d_module,), 1.0),
    )
    return [(scale * torch.randn(shape, device=device)).to(dtype) for shape, scale in shapes]


def _check(sizes: _Sizes, dtype: torch.dtype) -> Check:
    return Check(_case(sizes), dtype, partial(_inputs, sizes, dtype))


def _race(sizes: _Sizes, dtype: torch.dtype, skip: tuple[str, ...] = ()) -> Race:
    contestants = {
        "triton": lambda: partial(ops.convolutional_qkv, backend="triton"),
        "eager": lambda: reference,
        "compile": lambda: torch.compile(reference),
    }
    batch, length, n_modules, d_module = sizes
    n_inputs = n_modules * d_module + (2 * _N_AROUND + 1) * _N_BACK * d_module
    products = 2 * batch * length * n_modules * d_module * n_inputs
    return Race(
        f"{_case(sizes)} {dtype_name(dtype)}",
        partial(_inputs, sizes, dtype),
        {name: build for name, build in contestants.items() if name not in skip},
        forward_flops=products,
        backward_flops=2 * products,
    )


def _case(sizes: _Sizes) -> str:
    batch, length, n_modules, d_module = sizes
    return f"B{batch} L{length} D{n_modules * d_module} S{n_modules}"
