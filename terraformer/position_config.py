"""Configurations of positional encodings; the type chooses the layer."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class LearnedPositionsConfig:
    """A trained table, started from sines and cosines.

    Attributes:
        max_len: Positions.
        d_lowrank: Width of the table, projected to d_model; None makes it d_model wide.
        dropout: Rate on features of the encoding in training, the same for all positions.
    """

    max_len: int = 2048
    d_lowrank: int | None = None
    dropout: float = 0.0


@dataclass(frozen=True)
class AxialPositionsConfig:
    """One table an axis of a grid, joined: position = row-major index into `shape`.

    Attributes:
        shape: Lengths of the axes; their product is the most positions.
        widths: Width of each table; their sum is d_model.
        dropout: Rate on features of the encoding in training.
    """

    shape: tuple[int, ...] = (32, 64)
    widths: tuple[int, ...] = (64, 64)
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if len(self.shape) != len(self.widths):
            raise ValueError(f"shape {self.shape} and widths {self.widths} must be as long")


@dataclass(frozen=True)
class FixedBasePositionsConfig:
    """Digits of the position in several bases, each scaled by a learned vector.

    Attributes:
        bases: The bases.
        n_digits: Digits in each base.
        random_start: Whether training shifts half of the examples by a random start.
        base_dropout: Rate at which training leaves out a whole base.
    """

    bases: tuple[int, ...] = (11, 13, 14, 15)
    n_digits: int = 8
    random_start: bool = True
    base_dropout: float = 0.01


@dataclass(frozen=True)
class SinusoidalPositionsConfig:
    """Sines of all frequencies, then the cosines; of any length.

    Attributes:
        max_offset: Training shifts half of the examples by a random offset below this; 0 never.
        dropout: Rate on features of the encoding in training.
    """

    max_offset: int = 0
    dropout: float = 0.0


@dataclass(frozen=True)
class TimeBinPositionsConfig:
    """Replaces the last three channels by the bin of the position and the place in it.

    Attributes:
        bin_len: Positions of a bin.
    """

    bin_len: int = 64


PositionsConfig = (
    LearnedPositionsConfig
    | AxialPositionsConfig
    | FixedBasePositionsConfig
    | SinusoidalPositionsConfig
    | TimeBinPositionsConfig
)


def n_positions(config: PositionsConfig | None) -> int | None:
    """Returns how many tokens there are positions for, None if for any number."""
    if isinstance(config, LearnedPositionsConfig):
        return config.max_len
    return math.prod(config.shape) if isinstance(config, AxialPositionsConfig) else None
