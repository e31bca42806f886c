"""Configurations of the feed-forward layers; the type chooses the layer."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DenseFFConfig:
    """Dense feed-forward: d_model → d_ff → d_model with ReLU.

    Attributes:
        d_ff: Units, F.
        chunk_len: Tokens computed at once, 0 for all.
    """

    d_ff: int = 512
    chunk_len: int = 0


@dataclass(frozen=True)
class SparseFFConfig:
    """Sparse feed-forward: a low-rank controller keeps one unit in each block of `block_size`.

    Attributes:
        d_ff: Units, F.
        block_size: Units in a block, N, of which one is active.
        d_lowrank: Width of the controller's bottleneck.
        temperature: Scale of the Gumbel noise in training.
        quant_prob: Share of training calls that use the hard mask (straight-through).
        chunk_len: Tokens computed at once, 0 for all.
        multiply_by_controller: Whether kept units are scaled by their probability.
        scale_init: Whether the second projection starts sqrt(block_size) times larger.
    """

    d_ff: int = 512
    block_size: int = 16
    d_lowrank: int = 32
    temperature: float = 0.1
    quant_prob: float = 0.3
    chunk_len: int = 0
    multiply_by_controller: bool = False
    scale_init: bool = False

    def __post_init__(self) -> None:
        if self.d_ff % self.block_size:
            raise ValueError(
                f"d_ff ({self.d_ff}) must be divisible by "
                f"feed_forward.block_size ({self.block_size})"
            )


@dataclass(frozen=True)
class SwitchFFConfig:
    """Switch feed-forward: a router sends each token to one of `n_experts` dense layers.

    Attributes:
        d_ff: Units of an expert, F.
        n_experts: Experts, E.
        capacity_factor: Tokens an expert takes in training, relative to an even share; tokens over
            capacity pass unchanged through the residual stream.
        eval_capacity_factor: The same in evaluation, counted for each example by itself; None sets
            no limit, so that neither later tokens nor the rest of a batch change an output.
        jitter: The router's inputs are scaled in training by factors from [1 - jitter, 1 + jitter].
        load_balancing_weight: Of the auxiliary loss that evens out the experts' load.
        expert_dropout: Rate on the units of the experts in training.
        init_scale: Of the variance of initial weights, whose standard deviation is
            sqrt(init_scale / fan_in).
    """

    d_ff: int = 512
    n_experts: int = 8
    capacity_factor: float = 1.25
    eval_capacity_factor: float | None = None
    jitter: float = 0.01
    load_balancing_weight: float = 0.01
    expert_dropout: float = 0.4
    init_scale: float = 0.1

    def __post_init__(self) -> None:
        if self.n_experts < 1:
            raise ValueError(f"n_experts ({self.n_experts}) must be at least 1")
        for name in ("capacity_factor", "eval_capacity_factor"):
            factor = getattr(self, name)
            if factor is not None and factor <= 0:
                raise ValueError(f"{name} ({factor}) must be above 0")


FeedForwardConfig = DenseFFConfig | SparseFFConfig | SwitchFFConfig
