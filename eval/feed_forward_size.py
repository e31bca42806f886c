"""How many weights a feed-forward layer has, how many decoding reads, and equal sizes."""

from __future__ import annotations

from dataclasses import replace

from terraformer.feed_forward_config import DenseFFConfig, SparseFFConfig


def count_weights(config: DenseFFConfig | SparseFFConfig, d_model: int) -> int:
    """Returns the parameters of a feed-forward layer."""
    projections = 2 * d_model * config.d_ff + d_model + config.d_ff
    if isinstance(config, DenseFFConfig):
        return projections
    return projections + config.d_lowrank * (d_model + config.d_ff)


def count_weights_read(config: DenseFFConfig | SparseFFConfig, d_model: int) -> int:
    """Returns the parameters of a feed-forward layer that decoding one token reads."""
    weights = count_weights(config, d_model)
    if isinstance(config, DenseFFConfig):
        return weights
    resting = config.d_ff - config.d_ff // config.block_size
    return weights - 2 * d_model * resting


def match_units(sparse: SparseFFConfig, dense: DenseFFConfig, d_model: int) -> SparseFFConfig:
    """Returns `sparse` with the most units at which it has no more parameters than `dense`.

    Raises:
        ValueError: if its controller alone has more.
    """
    block = replace(sparse, d_ff=sparse.block_size)
    of_a_block = count_weights(replace(sparse, d_ff=2 * sparse.block_size), d_model)
    of_a_block -= count_weights(block, d_model)
    n_blocks = 1 + (count_weights(dense, d_model) - count_weights(block, d_model)) // of_a_block
    if n_blocks < 1:
        raise ValueError(
            f"d_lowrank ({sparse.d_lowrank}) and block_size ({sparse.block_size}) leave no units "
            f"of {dense.d_ff} in d_ff"
        )
    return replace(sparse, d_ff=n_blocks * sparse.block_size)
