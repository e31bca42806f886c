"""Sparse feed-forward in C++ for whole sequences in evaluation: the rows of chosen units alone."""

from __future__ import annotations

import torch
from torch import Tensor

from kernels import sequence
from kernels.sparse_feed_forward import reference
from kernels.sparse_feed_forward.reference import Controller, check_controller


def sparse_feed_forward_inference(
    x: Tensor,
    controller: Controller,
    w1: Tensor,
    w2: Tensor,
    b2: Tensor,
    *,
    block_size: int,
    multiply_by_controller: bool = False,
) -> Tensor:
    """Computes what `kernels.sparse_feed_forward.reference` defines; no logits are kept.

    Other dtypes than float32, and scaling by the controller, are left to the reference.
    """
    tensors = (x, *controller, w1, w2, b2)
    if multiply_by_controller or any(item.dtype != torch.float32 for item in tensors):
        return reference.sparse_feed_forward_inference(
            x,
            controller,
            w1,
            w2,
            b2,
            block_size=block_size,
            multiply_by_controller=multiply_by_controller,
        )
    check_controller(x, controller, w1, w2, block_size)
    x = x.contiguous()
    y = torch.empty_like(x)
    fields = {
        "n_tokens": x.shape[0],
        "d_model": x.shape[1],
        "d_lowrank": controller.w_in.shape[0],
        "n_blocks": w1.shape[0] // block_size,
        "block_size": block_size,
        **sequence.arrays(
            x=x,
            controller_in=controller.w_in,
            controller_out=controller.w_out,
            controller_bias=controller.bias,
            w1=w1,
            w2=w2,
            b2=b2,
            y=y,
        ),
    }
    sequence.run("sparse_feed_forward", fields)
    return y
