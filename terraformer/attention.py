"""Full softmax attention with separate queries, keys and values."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from terraformer.config import FullAttentionConfig
from terraformer.replay import Replay


class GrowingCache:
    """Rows along the length axis, appended in place; the room doubles when it is used up.

    Args:
        rows: First rows, [B, H, L, K].
    """

    def __init__(self, rows: Tensor) -> None:
        self.length = rows.shape[2]
        self._room = rows

    @property
    def rows(self) -> Tensor:
        """All rows so far, [B, H, length, K], a view."""
        return self._room[:, :, : self.length]

    def append(self, row: Tensor) -> None:
        """Adds one row, [B, H, 1, K]."""
        if self.length == self._room.shape[2]:
            self._room = F.pad(self._room, (0, 0, 0, max(16, self.length)))
        self._room[:, :, self.length : self.length + 1] = row
        self.length += 1


@dataclass
class FullAttentionState:
    """Keys and values of the positions so far, [B, H, L, K] each. A step changes it in place."""

    k: GrowingCache
    v: GrowingCache


class FullAttention(nn.Module):
    """Softmax attention over all positions, or over those before.

    Args:
        config: Heads.
        d_model: Width of the input and the output, D.
        causal: Whether a position sees only itself and those before it.
    """

    def __init__(self, config: FullAttentionConfig, d_model: int, causal: bool) -> None:
        super().__init__()
        self.n_heads = config.n_heads
        self.causal = causal
        self.w_q, self.w_k, self.w_v, self.w_o = (nn.Linear(d_model, d_model) for _ in range(4))
        for layer in (self.w_q, self.w_k, self.w_v, self.w_o):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.normal_(layer.bias, std=1e-6)

    def forward(
        self, x: Tensor, mask: Tensor | None = None, replay: Replay | None = None
    ) -> Tensor:
        """Attends over whole sequences.

        Args:
            x: [B, L, D].
            mask: [B, L], True for real tokens, wherever they stand; all are real if None.
            replay: Unused: nothing here is drawn or chosen.
        Returns:
            [B, L, D]; what stands at padded positions has no meaning.
        """
        q, k, v = (split_heads(layer(x), self.n_heads) for layer in (self.w_q, self.w_k, self.w_v))
        return self._attend(q, k, v, mask)

    def prefill(self, x: Tensor) -> tuple[Tensor, FullAttentionState]:
        """Attends over whole sequences [B, L, D] without padding, from which `step` goes on."""
        q, k, v = (split_heads(layer(x), self.n_heads) for layer in (self.w_q, self.w_k, self.w_v))
        state = FullAttentionState(GrowingCache(k.detach()), GrowingCache(v.detach()))
        return self._attend(q, k, v, None), state

    def step(
        self, x_t: Tensor, state: FullAttentionState | None = None
    ) -> tuple[Tensor, FullAttentionState]:
        """Attends from one new position, without gradient.

        Args:
            x_t: [B, D].
            state: Positions before it; none if None.
        Returns:
            [B, D]; the state with this position, which is `state`, changed.
        Raises:
            ValueError: if the layer is not causal.
        """
        require_causal(self.causal)
        with torch.no_grad():
            q, k, v = (
                split_heads(layer(x_t[:, None]), self.n_heads)
                for layer in (self.w_q, self.w_k, self.w_v)
            )
            if state is None:
                state = FullAttentionState(GrowingCache(k), GrowingCache(v))
            else:
                state.k.append(k)
                state.v.append(v)
            out = F.scaled_dot_product_attention(q, state.k.rows, state.v.rows)
            return self.w_o(merge_heads(out))[:, 0], state

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        if mask is None or bool(mask.all()):
            out = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        else:
            length = q.shape[2]
            reachable = mask[:, None, None, :].expand(-1, 1, length, -1)
            if self.causal:
                reachable = reachable.tril()
            # Each position sees itself at least, or a row of nothing would turn into NaN.
            reachable = reachable | torch.eye(length, dtype=torch.bool, device=q.device)
            out = F.scaled_dot_product_attention(q, k, v, attn_mask=reachable)
        return self.w_o(merge_heads(out))


def split_heads(x: Tensor, n_heads: int) -> Tensor:
    """[B, L, H * K] → [B, H, L, K]."""
    return x.unflatten(-1, (n_heads, -1)).transpose(1, 2)


def merge_heads(x: Tensor) -> Tensor:
    """[B, H, L, K] → [B, L, H * K]."""
    return x.transpose(1, 2).flatten(2)


def require_causal(causal: bool) -> None:
    """Raises a ValueError if a step is asked of a layer that sees both directions."""
    if not causal:
        raise ValueError("step needs a causal layer, this one attends to later positions too")
