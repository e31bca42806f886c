"""The experts of a Switch layer in `eval.kernels`: against one after another, and padded ones."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from eval.kernels_case import Check, Race, Suite, dtype_name
from kernels import ops
from kernels.expert_feed_forward.reference import expert_feed_forward as reference

_Sizes = tuple[int, int, int, int]  # tokens, experts, d_model, d_ff
_BASE = (768, 3072)  # of switch-base


def suite(tiny: bool) -> Suite:
    """Checks of every precision, some experts without tokens; races of 8 to 128 experts."""
    if tiny:
        sizes = (20, 3, 8, 12)
        checks = [_check(sizes, torch.float32), _check(sizes, torch.float16)]
        return Suite("expert_feed_forward", checks, [_race(sizes, torch.float32, ("compile",))])
    checks = [
        _check((4_001, 8, *_BASE), dtype)
        for dtype in (torch.float32, torch.float16, torch.bfloat16)
    ]
    checks += [
        _check((301, 64, *_BASE), torch.bfloat16),
        _check((203, 5, 100, 230), torch.float64),
    ]
    races = [
        _race((n_tokens, n_experts, *_BASE), torch.bfloat16, skip)
        for n_tokens, n_experts, skip in (
            (16_384, 8, ()),
            (16_384, 128, ("compile",)),
            (65_536, 32, ("compile",)),
        )
    ]
    return Suite("expert_feed_forward", checks, races)


def _inputs(sizes: _Sizes, dtype: torch.dtype, device: torch.device) -> list[Tensor | None]:
    """Tokens that choose unevenly: the higher an expert's number, the fewer it gets."""
    n_tokens, n_experts, d_model, d_ff = sizes
    share = torch.rand(n_tokens).square() * n_experts
    shapes = (n_experts, d_ff, d_model), (n_experts, d_ff), (n_experts, d_model, d_ff)
    weights = [
        (shape[-1] ** -0.5 * torch.randn(shape, device=device)).to(dtype)
        for shape in (*shapes, (n_experts, d_model))
    ]
    return [
        torch.randn(n_tokens, d_model, device=device).to(dtype),
        share.long().clamp_max(n_experts - 1).bincount(minlength=n_experts).to(device),
        *weights,
    ]


def _check(sizes: _Sizes, dtype: torch.dtype) -> Check:
    return Check(_case(sizes), dtype, partial(_inputs, sizes, dtype))


def _race(sizes: _Sizes, dtype: torch.dtype, skip: tuple[str, ...] = ()) -> Race:
    contestants = {
        "triton": lambda: partial(ops.expert_feed_forward, backend="triton"),
        "eager": lambda: reference,
        "compile": lambda: torch.compile(reference),
        "padded": lambda: _padded,
    }
    n_tokens, _, d_model, d_ff = sizes
    products = 4 * n_tokens * d_model * d_ff
    return Race(
        f"{_case(sizes)} {dtype_name(dtype)}",
        partial(_inputs, sizes, dtype),
        {name: build for name, build in contestants.items() if name not in skip},
        forward_flops=products,
        backward_flops=2 * products,
    )


def _case(sizes: _Sizes) -> str:
    n_tokens, n_experts, d_model, d_ff = sizes
    return f"N{n_tokens} E{n_experts} D{d_model} F{d_ff}"


def _padded(
    tokens: Tensor, n_tokens: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor
) -> Tensor:
    """Batched products of all experts, each padded to as many tokens as the fullest has."""
    capacity = int(n_tokens.max())
    expert = torch.arange(len(n_tokens), device=tokens.device).repeat_interleave(n_tokens)
    start = (n_tokens.cumsum(0) - n_tokens).index_select(0, expert)
    place = torch.arange(len(tokens), device=tokens.device) - start + expert * capacity
    padded = tokens.new_zeros(len(n_tokens) * capacity, tokens.shape[1])
    padded = padded.index_copy(0, place, tokens).view(len(n_tokens), capacity, -1)
    units = F.relu(torch.baddbmm(b1[:, None], padded, w1.transpose(1, 2)))
    out = torch.baddbmm(b2[:, None], units, w2.transpose(1, 2))
    return out.flatten(0, 1).index_select(0, place)
