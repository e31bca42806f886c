"""Rotary positions: queries and keys are turned by angles that grow with their position."""

from __future__ import annotations

import torch
from torch import Tensor

_BASE = 10000.0


def rotate(x: Tensor, positions: Tensor) -> Tensor:
    """Turns vectors by their position, so that products hang on the distance of two positions.

    Component i is turned with component i + K / 2, by position * 10000^(-2i / K) radians; the
    angles are computed in float32.

    Args:
        x: [B, H, L, K].
        positions: [L] or [B, L], any integers or floats.
    Returns:
        Shape and dtype of x.
    Raises:
        ValueError: if K is odd.
    Source: Su et al. 2021, arXiv:2104.09864; google/trax rotary_positional_embedding.
    """
    width = x.shape[-1]
    if width % 2:
        raise ValueError(f"the width of a head ({width}) must be even with rotary positions")
    exponents = torch.arange(0, width, 2, device=x.device, dtype=torch.float32) / width
    angles = positions[..., None].float() * _BASE**-exponents  # [L, K / 2] or [B, L, K / 2]
    if angles.dim() == 3:
        angles = angles[:, None]
    cos, sin = angles.cos(), angles.sin()
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1).to(x.dtype)


def real_positions(mask: Tensor | None, length: int, device: torch.device) -> Tensor:
    """Returns how many real tokens stand before each one, [L], or [B, L] where there is a mask.

    Args:
        mask: [B, L], True for real tokens, wherever they stand; all are real if None.
        length: L.
        device: Of the result.
    """
    if mask is None:
        return torch.arange(length, device=device)
    return (mask.cumsum(dim=-1) - 1).clamp(min=0)
