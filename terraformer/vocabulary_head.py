"""From states to logits of the next piece, and the loss that never holds all of them."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from terraformer.sparse_dense import MultiplicativeDense, new_dense
from terraformer.stack_config import LowRankHeadConfig, SparseHeadConfig, VocabularyHeadConfig


def build_head(config: VocabularyHeadConfig, d_in: int, vocab_size: int) -> nn.Module:
    """Returns the loss layer that belongs to the type of the config.

    It maps states [..., d_in] to logits [..., vocab_size].

    Args:
        config: The kind of layer.
        d_in: Width of the states.
        vocab_size: Pieces of the tokenizer.
    Raises:
        ValueError: if the modules of a sparse layer do not divide vocab_size.
    Source: Jaszczur et al. 2021, arXiv:2111.12763, section 3.3, for the sparse layer.
    Differs: a sparse layer is sparse at every step; the published one can be swapped at random in
        training for a dense layer of its own.
    """
    if isinstance(config, SparseHeadConfig):
        if vocab_size % config.n_modules:
            raise ValueError(
                f"vocab_size ({vocab_size}) must be divisible by "
                f"head.n_modules ({config.n_modules})"
            )
        return MultiplicativeDense(config.n_modules, d_in, vocab_size)
    if isinstance(config, LowRankHeadConfig):
        return nn.Sequential(
            new_dense(d_in, config.d_lowrank), new_dense(config.d_lowrank, vocab_size)
        )
    return new_dense(d_in, vocab_size)


def token_loss(
    head: Callable[[Tensor], Tensor],
    states: Tensor,
    targets: Tensor,
    mask: Tensor | None = None,
    chunk_len: int = 1024,
) -> Tensor:
    """Returns the mean cross-entropy of the targets, in nats, [], float32; 0 if there are none.

    The arguments are those of `token_loss_sum`.
    """
    total, count = token_loss_sum(head, states, targets, mask, chunk_len)
    return total / count.clamp_min(1)


def token_loss_sum(
    head: Callable[[Tensor], Tensor],
    states: Tensor,
    targets: Tensor,
    mask: Tensor | None = None,
    chunk_len: int = 1024,
) -> tuple[Tensor, Tensor]:
    """Sums the cross-entropy of the targets.

    Targets are worked on in chunks, and the logits of a chunk are computed again in the backward
    pass, so that never more than those of one chunk are held.

    Args:
        head: Maps states [T, D] to logits [T, V]; it draws nothing.
        states: [B, L, D], each the state that foresees the target at its place.
        targets: Ids, [B, L], int64.
        mask: [B, L], True where a target counts; all do if None.
        chunk_len: Targets of a chunk, over all examples.
    Returns:
        The sum, in nats, [], float32; the number of targets that count, [], int64.
    """
    if mask is None:
        mask = torch.ones_like(targets, dtype=torch.bool)
    chunks = states[mask].split(chunk_len), targets[mask].split(chunk_len)
    total = torch.zeros((), dtype=torch.float32, device=states.device)
    for chunk, ids in zip(*chunks, strict=True):
        total = total + checkpoint(
            _chunk_loss, head, chunk, ids, use_reentrant=False, preserve_rng_state=False
        )
    return total, mask.sum()


def _chunk_loss(head: Callable[[Tensor], Tensor], states: Tensor, targets: Tensor) -> Tensor:
    """Sum of the cross-entropy over states [T, D] and targets [T], float32."""
    return F.cross_entropy(head(states).float(), targets, reduction="sum")
