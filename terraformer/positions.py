"""Positional encodings: each adds to states what tells their positions apart."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from terraformer.position_config import (
    AxialPositionsConfig,
    FixedBasePositionsConfig,
    LearnedPositionsConfig,
    PositionsConfig,
    SinusoidalPositionsConfig,
    TimeBinPositionsConfig,
)

_SCALE_INIT = 1e-4


class LearnedPositions(nn.Module):
    """Adds the rows of a trained table, which starts as sines beside cosines.

    Source: Vaswani et al. 2017 (the start); the low-rank form is that of google/trax.
    """

    def __init__(self, config: LearnedPositionsConfig, d_model: int) -> None:
        super().__init__()
        self.config = config
        d_table = d_model if config.d_lowrank is None else config.d_lowrank
        sines, cosines = _sines_and_cosines(torch.arange(config.max_len), math.ceil(d_table / 2))
        table = torch.stack([sines, cosines], dim=-1).flatten(1)
        self.table = nn.Parameter(table[:, :d_table].contiguous())
        self.projection = None
        if config.d_lowrank is not None:
            self.projection = nn.Linear(d_table, d_model, bias=False)
            nn.init.xavier_uniform_(self.projection.weight)

    def forward(self, x: Tensor, start: int = 0) -> Tensor:
        """Returns x [B, L, D], whose first position is `start`, with its positions added.

        Raises:
            ValueError: if x ends after `config.max_len` positions.
        """
        end = start + x.shape[1]
        _check_end(end, self.config.max_len, "raise positions.max_len, or use sinusoidal positions")
        encoding = self.table[start:end]
        if self.projection is not None:
            encoding = self.projection(encoding)
        if self.training:
            encoding = _drop_features(encoding, self.config.dropout)
        return x + encoding.to(x.dtype)


class AxialPositions(nn.Module):
    """Adds rows of one trained table an axis of a grid, joined.

    Source: Kitaev et al. 2020, arXiv:2001.04451.
    """

    def __init__(self, config: AxialPositionsConfig, d_model: int) -> None:
        super().__init__()
        if sum(config.widths) != d_model:
            raise ValueError(
                f"positions.widths {config.widths} must add up to d_model ({d_model}), "
                f"not {sum(config.widths)}"
            )
        self.config = config
        self.tables = nn.ParameterList(
            torch.randn(length, width)
            for length, width in zip(config.shape, config.widths, strict=True)
        )

    def forward(self, x: Tensor, start: int = 0) -> Tensor:
        """Returns x [B, L, D], whose first position is `start`, with its positions added.

        Raises:
            ValueError: if x ends after the last position of the grid.
        """
        end = start + x.shape[1]
        _check_end(end, math.prod(self.config.shape), "use a larger positions.shape")
        positions = torch.arange(start, end, device=x.device)
        places = torch.unravel_index(positions, self.config.shape)
        rows = [table[place] for table, place in zip(self.tables, places, strict=True)]
        encoding = torch.cat(rows, dim=-1)
        if self.training:
            encoding = _drop_features(encoding, self.config.dropout)
        return x + encoding.to(x.dtype)


class FixedBasePositions(nn.Module):
    """Adds the digits of the position in several bases, each digit times a trained vector.

    A further vector marks the first position of a sequence, wherever its positions start.

    Source: google/trax, FixedBasePositionalEncoding.
    Differs: the scales of the bases start apart, and bases are left out one by one. The published
        code drew once for all bases, so they started with equal scales and went out together.
    """

    def __init__(self, config: FixedBasePositionsConfig, d_model: int) -> None:
        super().__init__()
        if d_model % config.n_digits:
            raise ValueError(
                f"d_model ({d_model}) must be divisible by positions.n_digits ({config.n_digits})"
            )
        self.config = config
        self.max_len = min(config.bases) ** config.n_digits
        shape = len(config.bases), config.n_digits, d_model // config.n_digits
        self.scales = nn.Parameter(torch.zeros(shape).uniform_(-_SCALE_INIT, _SCALE_INIT))
        self.start_vector = nn.Parameter(torch.zeros(d_model).uniform_(-_SCALE_INIT, _SCALE_INIT))

    def forward(self, x: Tensor, start: int = 0) -> Tensor:
        """Returns x [B, L, D], whose first position is `start`, with its positions added.

        Raises:
            ValueError: if x ends after the positions that have `config.n_digits` digits in every
                base.
        """
        end = start + x.shape[1]
        _check_end(end, self.max_len, "raise positions.n_digits")
        positions = torch.arange(start, end, device=x.device)[None]
        if self.training and self.config.random_start:
            positions = positions + _random_shifts(x, self.max_len - end)
        digits = self._digits(positions)
        if self.training and self.config.base_dropout:
            kept = torch.rand(x.shape[0], digits.shape[2], device=x.device)
            digits = digits * (kept >= self.config.base_dropout)[:, None, :, None]
        encoding = torch.einsum("blni,niw->bliw", digits, self.scales.float()).flatten(2)
        if start == 0:
            first = encoding[:, :1] + self.start_vector
            encoding = torch.cat([first, encoding[:, 1:]], dim=1)
        return x + encoding.to(x.dtype)

    def _digits(self, positions: Tensor) -> Tensor:
        """Digits of positions [B, L] in each base, [B, L, n_bases, n_digits], the lowest first."""
        bases = torch.tensor(self.config.bases, device=positions.device)[:, None]
        powers = bases ** torch.arange(self.config.n_digits, device=positions.device)
        return (positions[..., None, None] // powers % bases).float()


class SinusoidalPositions(nn.Module):
    """Adds the sines of all frequencies beside the cosines; positions may be of any length.

    Source: Vaswani et al. 2017, arXiv:1706.03762, laid out as in google/trax.
    """

    def __init__(self, config: SinusoidalPositionsConfig, d_model: int) -> None:
        super().__init__()
        self.config = config
        self.d_model = d_model

    def forward(self, x: Tensor, start: int = 0) -> Tensor:
        """Returns x [B, L, D], whose first position is `start`, with its positions added."""
        positions = torch.arange(start, start + x.shape[1], device=x.device)
        if self.training and self.config.max_offset:
            positions = positions + _random_shifts(x, self.config.max_offset)
        encoding = _sines_then_cosines(positions, self.d_model)
        if self.training:
            encoding = _drop_features(encoding, self.config.dropout)
        return x + encoding.to(x.dtype)


class TimeBinPositions(nn.Module):
    """Replaces the last three channels by 1 / (1 + bin), the place in the bin, and bin mod 2.

    The place runs from 0 to below 1. Positions may be of any length.

    Source: google/trax, TimeBinPositionalEncoding.
    """

    def __init__(self, config: TimeBinPositionsConfig, d_model: int) -> None:
        super().__init__()
        if d_model < 3:
            raise ValueError(f"d_model ({d_model}) must be at least 3 for time-bin positions")
        self.bin_len = config.bin_len

    def forward(self, x: Tensor, start: int = 0) -> Tensor:
        """Returns x [B, L, D], whose first position is `start`, with the channels replaced."""
        positions = torch.arange(start, start + x.shape[1], device=x.device)
        bins, places = positions // self.bin_len, positions % self.bin_len
        encoding = torch.stack([1 / (1 + bins), places / self.bin_len, bins % 2], dim=-1)
        return torch.cat([x[..., :-3], encoding.to(x.dtype).expand(*x.shape[:2], 3)], dim=-1)


Positions = (
    LearnedPositions | AxialPositions | FixedBasePositions | SinusoidalPositions | TimeBinPositions
)


def build_positions(config: PositionsConfig | None, d_model: int) -> Positions | None:
    """Returns the layer that belongs to the type of the config; None if there is no config.

    Raises:
        ValueError: if d_model does not suit it.
    """
    match config:
        case None:
            return None
        case LearnedPositionsConfig():
            return LearnedPositions(config, d_model)
        case AxialPositionsConfig():
            return AxialPositions(config, d_model)
        case FixedBasePositionsConfig():
            return FixedBasePositions(config, d_model)
        case SinusoidalPositionsConfig():
            return SinusoidalPositions(config, d_model)
        case TimeBinPositionsConfig():
            return TimeBinPositions(config, d_model)


def sinusoidal_positions(
    length: int, d_model: int, *, start: int = 0, device: torch.device | None = None
) -> Tensor:
    """Returns [length, d_model], float32: the sines of all frequencies, then the cosines."""
    return _sines_then_cosines(torch.arange(start, start + length, device=device), d_model)


def _sines_then_cosines(positions: Tensor, d_model: int) -> Tensor:
    """Encodes positions [..., L] as [..., L, d_model]; an odd last feature is 0."""
    encoding = torch.cat(_sines_and_cosines(positions, d_model // 2), dim=-1)
    return F.pad(encoding, (0, d_model % 2))


def _sines_and_cosines(positions: Tensor, n_frequencies: int) -> tuple[Tensor, Tensor]:
    """Sines and cosines of positions [..., L], [..., L, n_frequencies] each, float32."""
    frequencies = torch.exp(
        torch.arange(n_frequencies, device=positions.device, dtype=torch.float32)
        * (-math.log(10_000.0) / max(1, n_frequencies))
    )
    angles = positions.float()[..., None] * frequencies
    return angles.sin(), angles.cos()


def _random_shifts(x: Tensor, limit: int) -> Tensor:
    """Draws a shift an example of x, [B, 1], int64: 0 for about half, else up to `limit` - 1."""
    shape = x.shape[0], 1
    shifts = torch.randint(max(1, limit), shape, device=x.device)
    return shifts * torch.randint(2, shape, device=x.device)


def _drop_features(encoding: Tensor, rate: float) -> Tensor:
    """Drops features of an encoding [..., L, D], the same for all positions."""
    return encoding * F.dropout(torch.ones_like(encoding[..., :1, :]), rate)


def _check_end(end: int, max_len: int, way_out: str) -> None:
    if end > max_len:
        raise ValueError(f"{end} positions are more than max_len ({max_len}): {way_out}")
