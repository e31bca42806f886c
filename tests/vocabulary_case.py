"""Inputs of the vocabulary loss, and its gradients under autocast; two tests share them."""

from __future__ import annotations

import torch
from torch import Tensor


def make_inputs(n_targets: int, width: int, n_modules: int, d_module: int) -> list[Tensor | None]:
    """States, targets, projection, gate and bias, float64."""
    vocab_size = max(1, n_modules) * d_module
    return [
        torch.randn(n_targets, width, dtype=torch.float64),
        torch.randint(vocab_size, (n_targets,)),
        torch.randn(d_module, width, dtype=torch.float64),
        torch.randn(n_modules, width, dtype=torch.float64) if n_modules else None,
        torch.randn(vocab_size, dtype=torch.float64),
    ]


def autocast_gradients(inputs: list[Tensor], scale: float) -> list[Tensor]:
    """Gradients of the scaled sum of Triton's losses in float16, for inputs in float32."""
    from kernels import ops

    leaves = [
        item.float().requires_grad_() if item.is_floating_point() else item for item in inputs
    ]
    with torch.autocast("cpu", dtype=torch.float16):
        losses = ops.vocabulary_loss(*leaves, backend="triton")
    assert losses.dtype == torch.float32
    found = [leaf for leaf in leaves if leaf.requires_grad]
    return list(torch.autograd.grad(scale * losses.sum(), found))
