"""Cross-entropy after a loss layer for GPUs: no logits in memory, their gradients in chunks.

Beside inputs and outputs, memory holds two numbers a target and part of the vocabulary; going back
the logits' gradients of one chunk of targets, and sums of the weights' gradients in float32.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from kernels.multiplicative.triton import Layer, WeightSums
from kernels.triton_launch import run_kernel
from kernels.triton_support import accumulator_dtype, with_rows
from kernels.vocabulary_loss.reference import check_shapes

_PROGRAMS = 1024  # to be had where there are few targets: some for each processor of a GPU
CHUNK_BYTES = 1 << 27


def vocabulary_loss(
    states: Tensor,
    targets: Tensor,
    projection: Tensor,
    gate: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    chunk_len: int | None = None,
) -> Tensor:
    """Computes what `kernels.vocabulary_loss.reference.vocabulary_loss` defines.

    Half precision is multiplied as it is and summed in float32; logits are never rounded to it.
    `chunk_len` limits the targets whose logits' gradients are held; by default these take 128 MiB.
    """
    check_shapes(states, targets, projection, gate, bias)
    return _VocabularyLoss.apply(  # pyright: ignore[reportReturnType]
        states, targets, projection, gate, bias, chunk_len
    )


class _VocabularyLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        states: Tensor,
        targets: Tensor,
        projection: Tensor,
        gate: Tensor | None,
        bias: Tensor | None,
        chunk_len: int | None,
    ) -> Tensor:
        ctx.dtype = states.dtype
        if torch.is_autocast_enabled(states.device.type):
            dtype = torch.get_autocast_dtype(states.device.type)
            states, projection = states.to(dtype), projection.to(dtype)
            gate, bias = (None if item is None else item.to(dtype) for item in (gate, bias))
        states, targets = with_rows(states), targets.contiguous()
        total, hit = _totals(Layer(projection, gate, bias), states, targets)
        ctx.save_for_backward(states, targets, projection, gate, bias, total)
        ctx.chunk_len = chunk_len
        return total - hit

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, grad: Tensor
    ) -> tuple[Tensor | None, ...]:
        states, targets, projection, gate, bias, total = ctx.saved_tensors
        layer = Layer(projection, gate, bias)
        sums = WeightSums(layer)
        dx = torch.empty(states.shape, dtype=ctx.dtype, device=states.device)
        dbias = None if bias is None else torch.zeros_like(bias, dtype=total.dtype)
        # The largest factor is 1: half precision would lose gradients of a mean over many targets.
        scale = grad.abs().amax() if len(grad) else grad.new_ones(())
        factors = grad / scale.clamp_min(torch.finfo(grad.dtype).tiny)
        chunk_len = ctx.chunk_len or _chunk_len(layer, states.dtype)
        rows = (item.split(chunk_len) for item in (states, targets, total, factors, dx))
        for x, ids, part, factor, dx_part in zip(*rows, strict=True):
            if len(x):
                dlogits, dbias_part = _dlogits(layer, x, ids, part, factor)
                layer.backward_rows(dlogits, dx_part, scale)
                layer.backward_weights(dlogits, x, sums)
                if dbias is not None:
                    dbias += dbias_part.sum(dim=0)
        dgate = None if gate is None else sums.dgate.sum(dim=0) * scale
        dbias = None if dbias is None else dbias * scale
        return dx, None, sums.dprojection * scale, dgate, dbias, None


def _totals(layer: Layer, x: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Log-sum-exps of the logits of rows x [T, D], and logits of the targets, [T] each."""
    from kernels.vocabulary_loss.triton_logits import vocabulary_loss_fwd_kernel

    (n_blocks, n_tiles), sizes = layer.tiles("vocabulary_loss_fwd", len(x))
    n_parts = min(n_tiles, max(1, _PROGRAMS // max(1, n_blocks)))
    n_part_tiles = -(-n_tiles // n_parts)
    n_parts = -(-n_tiles // n_part_tiles)
    wide = accumulator_dtype(x.dtype)
    totals, hits = torch.empty(2, n_parts, len(x), dtype=wide, device=x.device)
    if n_blocks:
        run_kernel(
            vocabulary_loss_fwd_kernel,
            (n_blocks, n_parts),
            *(x, targets, *layer.weights, x if layer.bias is None else layer.bias, totals, hits),
            *(len(x), n_part_tiles, x.stride(0)),
            **sizes,
        )
    return totals.logsumexp(dim=0), hits.sum(dim=0)


def _dlogits(
    layer: Layer, x: Tensor, targets: Tensor, total: Tensor, factors: Tensor
) -> tuple[Tensor, Tensor]:
    """Gradients of the logits of rows x [T, D], [T, V], and their sums over blocks, [n, V]."""
    from kernels.vocabulary_loss.triton_logits import vocabulary_loss_bwd_kernel

    grid, sizes = layer.tiles("vocabulary_loss_bwd", len(x))
    vocab_size = layer.n_modules * layer.d_module
    dlogits = torch.empty(len(x), vocab_size, dtype=x.dtype, device=x.device)
    n_sums = 0 if layer.bias is None else grid[0]
    dbias = torch.empty(n_sums, vocab_size, dtype=total.dtype, device=x.device)
    run_kernel(
        vocabulary_loss_bwd_kernel,
        grid,
        *(x, targets, *layer.weights, x if layer.bias is None else layer.bias, total, factors),
        *(dlogits, dbias, len(x), x.stride(0)),
        **sizes,
    )
    return dlogits, dbias


def _chunk_len(layer: Layer, dtype: torch.dtype) -> int:
    row_bytes = layer.n_modules * layer.d_module * dtype.itemsize
    return max(128, CHUNK_BYTES // row_bytes // 128 * 128)
