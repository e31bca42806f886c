"""Cross-entropy after a sparse or dense loss layer, in plain PyTorch, logits chunk by chunk."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from kernels.multiplicative.reference import check_layer, multiplicative_dense

CHUNK_LEN = 1024


def vocabulary_loss(
    states: Tensor,
    targets: Tensor,
    projection: Tensor,
    gate: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    chunk_len: int | None = None,
) -> Tensor:
    """Returns the cross-entropy of each target; the logits of a chunk are computed once more.

    Logits are Σ_d states[t, d] * gate[s, d] * projection[m, d] + bias[v], piece v = s * M + m.

    Args:
        states: [T, D], each the state that foresees the target at its place.
        targets: Pieces, [T], int64, each of 0 … V - 1.
        projection: Rows that all modules of the vocabulary share, [M, D], M = V / S.
        gate: [S, D]; None is one open module, a dense layer.
        bias: [V], or none.
        chunk_len: Targets whose logits are held at once; the backend chooses if None.
    Returns:
        Negative log-likelihoods in nats, [T], float32 (float64 where the states have it).
    Raises:
        ValueError: if shapes do not fit.
    Source: Jaszczur et al. 2021, arXiv:2111.12763, section 3.3, for the sparse layer.
    """
    check_shapes(states, targets, projection, gate, bias)
    chunk_len = chunk_len or CHUNK_LEN
    chunks = zip(states.split(chunk_len), targets.split(chunk_len), strict=True)
    losses = [
        checkpoint(
            *(_chunk_loss, chunk, ids, projection, gate, bias),
            use_reentrant=False,
            preserve_rng_state=False,
        )
        for chunk, ids in chunks
    ]
    return torch.cat(losses)


def _chunk_loss(
    states: Tensor, targets: Tensor, projection: Tensor, gate: Tensor | None, bias: Tensor | None
) -> Tensor:
    logits = multiplicative_dense(states, projection, gate, bias)
    wide = torch.promote_types(logits.dtype, torch.float32)
    return F.cross_entropy(logits.to(wide), targets, reduction="none")


def check_shapes(
    states: Tensor,
    targets: Tensor,
    projection: Tensor,
    gate: Tensor | None,
    bias: Tensor | None,
) -> None:
    """Raises a ValueError if the arguments of `vocabulary_loss` do not fit one another."""
    check_layer(states, projection, gate, bias)
    if targets.shape != states.shape[:1]:
        raise ValueError(f"targets {tuple(targets.shape)} must be [{len(states)}], as the states")
