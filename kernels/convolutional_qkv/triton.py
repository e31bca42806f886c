"""Queries, keys and values for GPUs: gates join the product, one kernel makes all convolutions.

Going back it keeps x and what the multiplicative layer made of it. Parts of the rows each leave
their share of the kernels' gradients in float32, at most 512 for each tile of them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from kernels.convolutional_qkv.reference import check_shapes
from kernels.multiplicative.triton import Layer, WeightSums, product_options, step_of
from kernels.triton_launch import block_of, launch_of, run_kernel
from kernels.triton_support import accumulator_dtype

_PROGRAMS = 512  # to be had: some for each processor of a GPU


def convolutional_qkv(
    x: Tensor,
    projection: Tensor,
    gate: Tensor,
    bias: Tensor | None,
    w_q: Tensor,
    b_q: Tensor,
    w_v: Tensor,
    b_v: Tensor,
    w_k: Tensor | None = None,
    b_k: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Computes what `kernels.convolutional_qkv.reference.convolutional_qkv` defines.

    Half precision is multiplied as it is and summed in float32.
    """
    weights = projection, gate, bias, w_q, b_q, w_v, b_v, w_k, b_k
    check_shapes(x, *weights)
    outputs: list[Tensor] = list(
        _ConvolutionalQKV.apply(x, *weights)  # pyright: ignore[reportArgumentType]
    )
    q, v = outputs[0], outputs[-1]
    return q, q if w_k is None else outputs[1], v


class _ConvolutionalQKV(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Tensor | None) -> tuple[Tensor, ...]:
        ctx.dtypes = [None if item is None else item.dtype for item in inputs]
        x, projection, gate, bias, *kernels = _narrow(inputs)
        assert x is not None
        assert projection is not None
        layer = Layer(projection, gate, bias)
        ctx.shape = x.shape
        rows = x.flatten(0, 1).contiguous()
        mixed = layer.forward(rows) if len(rows) else rows
        outputs = _convolve(mixed, x.shape[1], layer.n_modules, kernels)
        w_q, _, w_v, _, w_k, _ = kernels
        ctx.save_for_backward(rows, mixed, projection, gate, bias, w_q, w_v, w_k)
        return tuple(item.view(x.shape) for item in outputs)

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grads: Tensor
    ) -> tuple[Tensor | None, ...]:
        rows, mixed, projection, gate, bias, w_q, w_v, w_k = ctx.saved_tensors
        layer = Layer(projection, gate, bias)
        flat = [grad.flatten(0, 1).contiguous() for grad in grads]
        shared = w_k is None
        dq, dk, dv = flat[0], None if shared else flat[1], flat[-1]
        length, wide = ctx.shape[1], accumulator_dtype(rows.dtype)
        dmixed = _backward_rows((dq, dk, dv), (w_q, w_k, w_v), length, layer.n_modules)
        dx = torch.empty(rows.shape, dtype=ctx.dtypes[0], device=rows.device)
        sums = WeightSums(layer)
        if len(rows):
            layer.backward_rows(dmixed, dx, None)
            layer.backward_weights(dmixed, rows, sums)
        dkernels: list[Tensor | None] = []
        for grad, weight in ((dq, w_q), (dv, w_v), (dk, w_k)):
            if grad is None:
                dkernels += [None, None]
                continue
            dkernels.append(_backward_weight(grad, mixed, weight, length, layer.n_modules))
            dkernels.append(grad.view(-1, layer.d_module).sum(dim=0, dtype=wide))
        dbias = None if bias is None else dmixed.sum(dim=0, dtype=wide)
        return dx.view(ctx.shape), sums.dprojection, sums.dgate.sum(dim=0), dbias, *dkernels


def _narrow(inputs: tuple[Tensor | None, ...]) -> list[Tensor | None]:
    """Inputs in the dtype of autocast, if it is on, and without gaps."""
    first = inputs[0]
    assert first is not None
    dtype = first.dtype
    if torch.is_autocast_enabled(first.device.type):
        dtype = torch.get_autocast_dtype(first.device.type)
    return [None if item is None else item.to(dtype).contiguous() for item in inputs]


def _convolve(mixed: Tensor, length: int, n_modules: int, kernels: list[Any]) -> list[Tensor]:
    """Queries, keys if they have a kernel of their own, and values of rows [T, D]."""
    from kernels.convolutional_qkv.triton_convolve import convolutional_qkv_fwd_kernel

    w_q, b_q, w_v, b_v, w_k, b_k = kernels
    has_k = w_k is not None
    outputs = [torch.empty_like(mixed) for _ in range(3 if has_k else 2)]
    q, v = outputs[0], outputs[-1]
    k = outputs[1] if has_k else q
    if len(mixed):
        grid, sizes = _sizes("fwd", mixed, w_q, n_modules)
        run_kernel(
            convolutional_qkv_fwd_kernel,
            grid,
            *(mixed, w_q, b_q, w_k if has_k else w_q, b_k if has_k else b_q, w_v, b_v, q, k, v),
            *(len(mixed), length),
            has_k=has_k,
            **sizes,
        )
    return outputs


def _backward_rows(
    grads: tuple[Tensor, Tensor | None, Tensor],
    weights: tuple[Tensor, Tensor | None, Tensor],
    length: int,
    n_modules: int,
) -> Tensor:
    """Gradients of the convolutions' input from those of queries, keys and values, [T, D]."""
    from kernels.convolutional_qkv.triton_backward import convolutional_qkv_dx_kernel

    (dq, dk, dv), (w_q, w_k, w_v) = grads, weights
    dmixed = torch.empty_like(dq)
    if len(dq):
        grid, sizes = _sizes("dx", dq, w_q, n_modules)
        run_kernel(
            convolutional_qkv_dx_kernel,
            grid,
            *(dq, dq if dk is None else dk, dv, w_q, w_q if w_k is None else w_k, w_v, dmixed),
            *(len(dq), length),
            has_k=dk is not None,
            **sizes,
        )
    return dmixed


def _backward_weight(
    grad: Tensor, mixed: Tensor, weight: Tensor, length: int, n_modules: int
) -> Tensor:
    """Gradient of one kernel [M, length, modules, M], float32 or wider."""
    from kernels.convolutional_qkv.triton_backward import convolutional_qkv_dw_kernel

    d_module, n_back, n_around, _ = weight.shape
    _, sizes = _sizes("dw", grad, weight, n_modules)
    sizes["block_m"] = block_of(d_module, sizes["block_m"])
    n_tiles = -(-d_module // sizes["block_m"]) * -(-d_module // sizes["block_n"])
    n_parts = max(1, _PROGRAMS // (n_back * n_around * n_tiles))
    n_part_rows = -(-len(grad) // (n_parts * sizes["block_k"])) * sizes["block_k"]
    n_parts = -(-len(grad) // max(1, n_part_rows))
    shares = torch.empty(
        (n_parts, *weight.shape), dtype=accumulator_dtype(grad.dtype), device=grad.device
    )
    if n_parts:
        run_kernel(
            convolutional_qkv_dw_kernel,
            (n_parts, n_back * n_around, n_tiles),
            *(grad, mixed, shares, len(grad), length, n_part_rows),
            **sizes,
        )
    return shares.sum(dim=0)


def _sizes(
    kind: str, rows: Tensor, weight: Tensor, n_modules: int
) -> tuple[tuple[int, int, int], dict[str, Any]]:
    """The grid over rows, modules and columns of one, and compile-time arguments."""
    d_module, n_back, n_around, _ = weight.shape
    settings = launch_of(f"convolutional_qkv_{kind}", rows.dtype, d_module)
    block_m = block_of(len(rows), settings.block_m)
    block_n = block_of(d_module, settings.block_n)
    return (-(-len(rows) // block_m), n_modules, -(-d_module // block_n)), {
        "n_modules": n_modules,
        "d_module": d_module,
        "n_back": n_back,
        "n_around": n_around,
        "block_m": block_m,
        "block_n": block_n,
        "block_k": block_of(d_module, step_of(rows.dtype)),
        **product_options(rows.dtype, settings),
    }
