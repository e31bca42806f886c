"""The loss after a sparse or dense layer in `eval.kernels`: against whole logits, and chunks."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from eval.kernels_case import Check, Race, Suite, dtype_name
from kernels import ops
from kernels.vocabulary_loss.reference import vocabulary_loss as reference

_VOCABULARY = 32_000
_Sizes = tuple[int, int, int, int]  # targets, width, modules (0: a dense layer), pieces


def suite(tiny: bool) -> Suite:
    """Checks of sparse and dense layers in every precision; races at 4k and 16k targets."""
    if tiny:
        sizes = (20, 9, 2, 38)
        checks = [_check(sizes, torch.float32), _check(sizes, torch.float16)]
        return Suite("vocabulary_loss", checks, [_race(sizes, torch.float32, ("compile",))])
    checks = [
        _check((4_001, 1024, 4, _VOCABULARY), dtype)
        for dtype in (torch.float32, torch.float16, torch.bfloat16)
    ]
    checks += [
        _check((2_001, 512, 0, _VOCABULARY), torch.bfloat16),
        _check((101, 100, 3, 999), torch.float64),
    ]
    races = [
        _race((n_targets, 1024, n_modules, _VOCABULARY), torch.bfloat16, skip)
        for n_targets, n_modules, skip in (
            (4_096, 4, ()),
            (16_384, 4, ("compile",)),
            (16_384, 0, ("compile",)),
        )
    ]
    return Suite("vocabulary_loss", checks, races)


def _inputs(sizes: _Sizes, dtype: torch.dtype, device: torch.device) -> list[Tensor | None]:
    n_targets, width, n_modules, n_pieces = sizes
    d_module = n_pieces // max(1, n_modules)
    gate = torch.randn(n_modules, width, device=device).to(dtype) if n_modules else None
    return [
        torch.randn(n_targets, width, device=device).to(dtype),
        torch.randint(n_pieces, (n_targets,), device=device),
        (width**-0.5 * torch.randn(d_module, width, device=device)).to(dtype),
        gate,
        torch.randn(n_pieces, device=device).to(dtype),
    ]


def _check(sizes: _Sizes, dtype: torch.dtype) -> Check:
    return Check(_case(sizes), dtype, partial(_inputs, sizes, dtype))


def _race(sizes: _Sizes, dtype: torch.dtype, skip: tuple[str, ...] = ()) -> Race:
    contestants = {
        "triton": lambda: partial(ops.vocabulary_loss, backend="triton"),
        "eager": lambda: reference,
        "whole": lambda: _whole,
        "compile": lambda: torch.compile(_whole),
    }
    n_targets, width, _, n_pieces = sizes
    product = 2 * n_targets * width * n_pieces
    return Race(
        f"{_case(sizes)} {dtype_name(dtype)}",
        partial(_inputs, sizes, dtype),
        {name: build for name, build in contestants.items() if name not in skip},
        forward_flops=product,
        backward_flops=3 * product,
    )


def _case(sizes: _Sizes) -> str:
    n_targets, width, n_modules, n_pieces = sizes
    layer = f"S{n_modules}" if n_modules else "dense"
    return f"T{n_targets} D{width} V{n_pieces} {layer}"


def _whole(
    states: Tensor, targets: Tensor, projection: Tensor, gate: Tensor | None, bias: Tensor
) -> Tensor:
    """The loss of logits that are all held, in half precision and once more in float32."""
    logits = ops.multiplicative_dense(states, projection, gate, bias)
    wide = torch.promote_types(logits.dtype, torch.float32)
    return F.cross_entropy(logits.to(wide), targets, reduction="none")
