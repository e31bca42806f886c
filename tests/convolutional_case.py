"""Inputs of the convolutional queries, keys and values; two tests share them."""

from __future__ import annotations

import torch
from torch import Tensor


def make_inputs(
    batch: int,
    length: int,
    n_modules: int,
    d_module: int,
    taps: tuple[int, int] = (3, 3),
    shared: bool = False,
) -> list[Tensor | None]:
    """What `convolutional_qkv` takes, float64; `taps` are positions and modules of a kernel."""
    d_model, (n_back, n_around) = n_modules * d_module, taps
    shapes = (
        (batch, length, d_model),
        (d_module, d_model),
        (n_modules, d_model),
        (d_model,),
        (d_module, n_back, n_around, d_module),
        (d_module,),
        (d_module, n_back, 1, d_module),
        (d_module,),
        (d_module, n_back, n_around, d_module),
        (d_module,),
    )
    inputs: list[Tensor | None] = []
    for shape in shapes:
        fan_in = torch.Size(shape[1:]).numel() if len(shape) in (2, 4) else 1
        inputs.append(fan_in**-0.5 * torch.randn(shape, dtype=torch.float64))
    return [*inputs[:8], None, None] if shared else inputs
