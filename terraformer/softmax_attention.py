"""Softmax attention between given queries, keys and values, with queries as keys or apart."""

from __future__ import annotations

import contextlib

import torch
import torch.nn.functional as F
from torch import Tensor

from kernels import ops
from terraformer.replay import Replay


def softmax_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    reachable: Tensor | None = None,
    *,
    own: Tensor | None = None,
    causal: bool = False,
    dropout: float = 0.0,
    replay: Replay | None = None,
) -> Tensor:
    """Attends from queries to keys.

    Args:
        q: Queries, [B, H, L, K].
        k: Keys, [B, H, M, K].
        v: Values, [B, H, M, K].
        reachable: True where a query may see a key, broadcast to [B, H, L, M]; each query sees one
            key at least. All may see all if None.
        own: True where a query meets its own key, broadcast to [B, H, L, M]; given where keys are
            queries scaled to unit length (`unit_keys`). It is seen only if no other is. Scores are
            then not divided by sqrt(K).
        causal: Whether keys later than a query are out of reach; without `reachable` only.
        dropout: Rate on the weights.
        replay: Keeps what is dropped.
    Returns:
        [B, H, L, K].
    """
    bias, scale = reachable, None
    if own is not None:
        scale = 1.0
        least = torch.finfo(q.dtype).min / 2  # float16 does not reach as far as the penalty
        bias = torch.zeros_like(own, dtype=q.dtype).masked_fill(own, max(-ops.SELF_PENALTY, least))
        if causal:
            reachable = torch.ones_like(own).tril()
        if reachable is not None:
            bias = torch.where(reachable, bias, -torch.inf)
    keep = (replay or Replay()).same_random(q.device) if dropout else contextlib.nullcontext()
    with keep:
        return F.scaled_dot_product_attention(
            q,
            k,
            v,
            attn_mask=bias,
            dropout_p=dropout,
            is_causal=causal and own is None,
            scale=scale,
        )


def unit_keys(k: Tensor) -> Tensor:
    """Returns keys of length one, as LSH attention scales them, shape and dtype of k."""
    exact = k if k.dtype.itemsize >= 4 else k.float()
    return ops.unit_length(exact).to(k.dtype)


def own_keys(length: int, device: torch.device) -> Tensor:
    """Returns where queries meet their own keys, [L, L], True on the diagonal."""
    return torch.eye(length, dtype=torch.bool, device=device)


def last_own_key(length: int, device: torch.device) -> Tensor:
    """Returns where the last query meets its own key, [1, L], True at the end."""
    return torch.arange(length, device=device)[None] == length - 1
