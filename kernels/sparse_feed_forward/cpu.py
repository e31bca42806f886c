"""Sparse feed-forward for the CPU: a few tokens at a time, with a backward pass written by hand."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.amp.autocast_mode import custom_bwd, custom_fwd
from torch.autograd.function import once_differentiable

from kernels.sparse_feed_forward.reference import Selection, check_shapes

UNITS_AT_ONCE = 1 << 18  # elements, 1 MiB in float32: a few such blocks stay in the cache


def sparse_feed_forward(
    x: Tensor,
    logits: Tensor,
    w1: Tensor,
    w2: Tensor,
    b2: Tensor,
    *,
    selection: Selection,
    choice: Tensor | None = None,
    multiply_by_controller: bool = False,
) -> Tensor:
    """Computes what `kernels.sparse_feed_forward.reference.sparse_feed_forward` defines.

    For the backward pass it keeps one number a unit if the gradient of the softmax is asked for,
    one more if the selection is soft, else one a block.
    """
    check_shapes(x, logits, w1, w2)
    if selection == "soft":
        choice = None
    else:
        choice = (logits.argmax(dim=-1) if choice is None else choice.long())[..., None]
    return _SparseFeedForward.apply(  # pyright: ignore[reportReturnType]
        x,
        logits,
        w1,
        w2,
        b2,
        selection,
        choice,
        multiply_by_controller and choice is not None,
        torch.is_grad_enabled(),
    )


class _SparseFeedForward(torch.autograd.Function):
    @staticmethod
    @custom_fwd(device_type="cpu", cast_inputs=torch.float32)
    def forward(
        ctx: Any,
        x: Tensor,
        logits: Tensor,
        w1: Tensor,
        w2: Tensor,
        b2: Tensor,
        selection: Selection,
        choice: Tensor | None,
        multiply: bool,
        keep: bool,
    ) -> Tensor:
        blocks = logits.shape[1:]
        has_soft = choice is None or multiply or (keep and selection == "straight_through")
        out = x.new_empty(x.shape[0], b2.shape[0])
        kept_units, kept_soft = [], []
        for start, end in _ranges(x.shape[0], w1.shape[0]):
            units = torch.mm(x[start:end], w1.T).view(-1, *blocks).relu_()
            if has_soft:
                kept_soft.append(logits[start:end].softmax(dim=-1))
            if choice is None:
                active = units * kept_soft[-1]
            else:
                chosen = choice[start:end]
                active = torch.zeros_like(units)
                units = units.gather(-1, chosen)  # [T, G, 1]
                scaled = units * kept_soft[-1].gather(-1, chosen) if multiply else units
                active.scatter_(-1, chosen, scaled)
            torch.addmm(b2, active.flatten(1), w2, out=out[start:end])
            if keep:
                kept_units.append(units)
            else:
                kept_soft.clear()
        ctx.selection, ctx.has_soft, ctx.multiply = selection, has_soft, multiply
        ctx.n_parts = len(kept_units)
        ctx.save_for_backward(x, w1, w2, choice, *kept_units, *kept_soft)
        ctx.blocks = blocks
        return out

    @staticmethod
    @once_differentiable
    @custom_bwd(device_type="cpu")
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, grad: Tensor
    ) -> tuple[Tensor | None, ...]:
        x, w1, w2, choice, *kept = ctx.saved_tensors
        kept_units, kept_soft = kept[: ctx.n_parts], kept[ctx.n_parts :]
        dx, dw1, dw2 = torch.empty_like(x), torch.zeros_like(w1), torch.zeros_like(w2)
        dlogits = x.new_empty(x.shape[0] if ctx.has_soft else 0, *ctx.blocks)
        for part, (start, end) in enumerate(_ranges(x.shape[0], w1.shape[0])):
            units = kept_units[part]
            dactive = torch.mm(grad[start:end], w2.T).view(-1, *ctx.blocks)
            if choice is None:
                soft = kept_soft[part]
                active = units * soft
                # The gradient of the softmax: soft * (dsoft - sum(soft * dsoft)).
                dlogit = active * dactive
                torch.sub(dlogit, soft * dlogit.sum(dim=-1, keepdim=True), out=dlogits[start:end])
                dunits = dactive.mul_(soft).mul_(units > 0)
            else:
                chosen = choice[start:end]
                share = kept_soft[part].gather(-1, chosen) if ctx.has_soft else None
                dchosen, scaled = dactive.gather(-1, chosen).mul_(units > 0), units
                if share is not None and ctx.multiply:
                    dchosen, scaled = dchosen.mul_(share), units * share
                active = torch.zeros_like(dactive).scatter_(-1, chosen, scaled)
                dunits = dactive.zero_().scatter_(-1, chosen, dchosen)
                if share is not None:
                    along = dchosen.mul_(units)
                    if ctx.selection == "straight_through":  # else it holds the share already
                        along.mul_(share)
                    torch.mul(kept_soft[part], -along, out=dlogits[start:end])
                    dlogits[start:end].scatter_add_(-1, chosen, along)
            dunits, active = dunits.flatten(1), active.flatten(1)
            torch.mm(dunits, w1, out=dx[start:end])
            dw1.addmm_(dunits.T, x[start:end])
            dw2.addmm_(active.T, grad[start:end])
        dlogits = dlogits if ctx.has_soft else None
        return dx, dlogits, dw1, dw2, grad.sum(dim=0), None, None, None, None


def _ranges(n_tokens: int, n_units: int) -> list[tuple[int, int]]:
    size = max(64, UNITS_AT_ONCE // n_units)
    return [(start, min(start + size, n_tokens)) for start in range(0, n_tokens, size)]
