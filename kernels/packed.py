"""Weights laid out for the decoding step: in panels or in rows, float32 or int8 with scales."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

PANEL_ROWS = 16
"""Rows that stand side by side in a panel; widths and lengths are filled up to multiples of it."""


class Packed(NamedTuple):
    """A matrix as the decoding step reads it.

    Attributes:
        weights: float32, or int8 where there are scales.
        scales: What each row's numbers are multiplied by, float32; None if nothing.
    """

    weights: Tensor
    scales: Tensor | None


def round_up(count: int) -> int:
    """Returns the next multiple of `PANEL_ROWS`."""
    return -(-count // PANEL_ROWS) * PANEL_ROWS


def pack_panels(weight: Tensor, int8: bool = False) -> Packed:
    """Puts sixteen rows of a matrix side by side, so that a product reads memory in order.

    Args:
        weight: [..., R, C], float32.
        int8: Whether rows are rounded to int8.
    Returns:
        [..., R / 16, C, 16], R filled up with zeros; scales [..., R], filled up too.
    """
    weights, scales = _quantized(weight.detach(), int8)
    missing = round_up(weight.shape[-2]) - weight.shape[-2]
    if missing:
        weights = F.pad(weights, (0, 0, 0, missing))
        scales = None if scales is None else F.pad(scales, (0, missing)).contiguous()
    panels = weights.unflatten(-2, (-1, PANEL_ROWS)).transpose(-1, -2)
    return Packed(panels.contiguous(), scales)


def pack_rows(weights: Sequence[Tensor], int8: bool = False) -> Packed:
    """Puts rows of the same number of some matrices beside one another, to be read together.

    Args:
        weights: n of [..., R, C], float32.
        int8: Whether rows are rounded to int8.
    Returns:
        [..., R, n, C], C filled up with zeros to a multiple of sixteen; scales [..., R, n].
    """
    *shape, width = weights[0].shape
    dtype = torch.int8 if int8 else torch.float32
    rows = torch.zeros(*shape, len(weights), round_up(width), dtype=dtype)
    scales = torch.empty(*shape, len(weights)) if int8 else None
    for i, weight in enumerate(weights):
        numbers, scale = _quantized(weight.detach(), int8)
        rows[..., i, :width] = numbers
        if scales is not None and scale is not None:
            scales[..., i] = scale
    return Packed(rows, scales)


def _quantized(weight: Tensor, int8: bool) -> tuple[Tensor, Tensor | None]:
    """Rounds each row of [..., R, C] to multiples of its largest magnitude / 127."""
    if not int8:
        return weight, None
    scales = weight.abs().amax(dim=-1).clamp_min(torch.finfo(torch.float32).tiny * 127) / 127
    return (weight / scales[..., None]).round_().to(torch.int8), scales
