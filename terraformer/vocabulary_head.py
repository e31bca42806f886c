"""From states to logits of the next piece, and the loss that never holds all of them."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from kernels import ops
from terraformer.sparse_dense import MultiplicativeDense, new_dense
from terraformer.stack_config import LowRankHeadConfig, SparseHeadConfig, VocabularyHeadConfig

_CHUNK_LEN = 1024


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
    chunk_len: int | None = None,
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
    chunk_len: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Sums the cross-entropy of the targets.

    The logits are computed again in the backward pass, and never more than those of one chunk of
    targets are held. For the heads of `build_head` the loss is one operation with their last layer,
    whose module is not called.

    Args:
        head: Maps states [T, D] to logits [T, V]; it draws nothing.
        states: [B, L, D], each the state that foresees the target at its place.
        targets: Ids, [B, L], int64.
        mask: [B, L], True where a target counts; all do if None.
        chunk_len: Targets of a chunk, over all examples; chosen by the backend if None.
    Returns:
        The sum, in nats, [], float32; the number of targets that count, [], int64.
    """
    if mask is None:
        mask = torch.ones_like(targets, dtype=torch.bool)
    losses = token_losses(head, states[mask], targets[mask], chunk_len)
    return losses.sum().float(), mask.sum()


def token_losses(
    head: Callable[[Tensor], Tensor],
    states: Tensor,
    targets: Tensor,
    chunk_len: int | None = None,
) -> Tensor:
    """Returns the cross-entropy of each target [T] after its state [T, D].

    The other arguments, and what is held of the logits, are those of `token_loss_sum`.

    Returns:
        In nats, [T], float32 or wider.
    """
    if isinstance(head, nn.Sequential):  # the low-rank head
        states, head = head[:-1](states), head[-1]
    if isinstance(head, MultiplicativeDense):
        layer = head.projection, head.gate, head.bias
        return ops.vocabulary_loss(states, targets, *layer, chunk_len=chunk_len)
    if isinstance(head, nn.Linear):
        layer = head.weight, None, head.bias
        return ops.vocabulary_loss(states, targets, *layer, chunk_len=chunk_len)
    chunk_len = chunk_len or _CHUNK_LEN
    chunks = states.split(chunk_len), targets.split(chunk_len)
    losses = [
        checkpoint(_chunk_losses, head, chunk, ids, use_reentrant=False, preserve_rng_state=False)
        for chunk, ids in zip(*chunks, strict=True)
    ]
    return torch.cat(losses)


def _chunk_losses(head: Callable[[Tensor], Tensor], states: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(head(states).float(), targets, reduction="none")
