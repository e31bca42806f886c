"""Copying tokens of the source: a distribution over them, mixed with that of the vocabulary."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from terraformer.sparse_dense import new_dense
from terraformer.stack_config import CopyConfig
from terraformer.vocabulary_head import token_losses

_NEVER = -1e30  # finite, so that differences of two and their gradients are numbers
_MAX_SCORES = 1 << 22  # of a chunk of targets, over all examples: 16 MiB


@dataclass(frozen=True)
class CopySource:
    """What copying needs of a source; nothing changes it.

    Attributes:
        keys: [B, S, K].
        ids: [B, S], int64.
        mask: [B, S], True for real tokens.
    """

    keys: Tensor
    ids: Tensor
    mask: Tensor

    def __deepcopy__(self, memo: dict[int, Any]) -> CopySource:
        return self


class CopyHead(nn.Module):
    """Mixes two ways to the next token: p = g · p_vocabulary + (1 - g) · p_copy.

    p_copy is the sum of attention from the decoder's final state to the encoder's states over all
    places of the source that hold the token; g is a sigmoid of the decoder's final state.

    Args:
        config: Of the path.
        d_model: Width of the states on both sides, D.
        layer_norm_epsilon: Added to the variance.
    Source: See et al. 2017, arXiv:1704.04368, equations 8 and 9.
    Differs: attends with queries and keys of its own, scaled, rather than with the additive
        attention of the decoder; g knows the decoder's state alone, which has seen source and last
        token; no token lies outside the vocabulary; no coverage, as decoding blocks repetition.
    """

    def __init__(self, config: CopyConfig, d_model: int, layer_norm_epsilon: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(d_model, eps=layer_norm_epsilon)
        self.key = new_dense(d_model, config.d_key)
        self.query = new_dense(d_model, config.d_key)
        self.gate = new_dense(d_model, 1)

    def read(self, states: Tensor, ids: Tensor, mask: Tensor | None = None) -> CopySource:
        """Reads a source.

        Args:
            states: Of the encoder, [B, S, D].
            ids: [B, S], int64.
            mask: [B, S], True for real tokens; all are real if None.
        """
        if mask is None:
            mask = torch.ones_like(ids, dtype=torch.bool)
        return CopySource(self.key(self.norm(states)), ids, mask)

    def mix(self, logits: Tensor, states: Tensor, source: CopySource) -> Tensor:
        """Returns the log-probabilities of the mixture.

        Args:
            logits: Of the loss layer, [B, T, V].
            states: Final states of the decoder, [B, T, D].
            source: From `read`.
        Returns:
            [B, T, V], float32 (float64 where the logits have it): normalized, so they are logits
            too. Without any real source token the vocabulary speaks alone.
        """
        wide = torch.promote_types(logits.dtype, torch.float32)
        weights = _scores(self.query(states), source).to(wide).softmax(dim=-1)
        ids = source.ids[:, None].expand(-1, states.shape[1], -1)
        copied = torch.zeros_like(logits, dtype=wide).scatter_add(-1, ids, weights)
        write, copy = (item[..., None].to(wide) for item in self._log_gates(states, source))
        written = write + F.log_softmax(logits.to(wide), dim=-1)
        smallest = torch.finfo(wide).tiny
        both = torch.logaddexp(written, copy + copied.clamp_min(smallest).log())
        return torch.where(copied > smallest, both, written)

    def loss_sum(
        self,
        head: Callable[[Tensor], Tensor],
        states: Tensor,
        targets: Tensor,
        mask: Tensor | None,
        source: CopySource,
        chunk_len: int | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Sums the negative log-likelihood of the targets.

        Scores are computed again in the backward pass, and never more than those of one chunk of
        targets are held; for the vocabulary see `token_losses`.

        Args:
            head: Of the vocabulary, maps states [N, D] to logits [N, V]; it draws nothing.
            states: [B, T, D], each the state that foresees the target at its place.
            targets: Ids, [B, T], int64.
            mask: [B, T], True where a target counts; all do if None.
            source: From `read`.
            chunk_len: Targets of a chunk in each example; None chooses by what scores take.
        Returns:
            The sum, in nats, [], float32; the number of targets that count, [], int64.
        """
        if mask is None:
            mask = torch.ones_like(targets, dtype=torch.bool)
        written = -token_losses(head, states[mask], targets[mask])
        states = states.masked_fill(~mask[..., None], 0.0)  # padding may hold anything
        write, copy = self._log_gates(states, source)
        chunk_len = chunk_len or max(1, _MAX_SCORES // max(1, source.ids.numel()))
        queries = self.query(states).split(chunk_len, dim=1)
        chunks = zip(queries, targets.split(chunk_len, dim=1), strict=True)
        copied = torch.cat(
            [
                checkpoint(_copied, *chunk, source, use_reentrant=False, preserve_rng_state=False)
                for chunk in chunks
            ],
            dim=1,
        )
        likelihood = torch.logaddexp(
            write[mask].to(written.dtype) + written, (copy + copied)[mask].to(written.dtype)
        )
        return -likelihood.sum().float(), mask.sum()

    def _log_gates(self, states: Tensor, source: CopySource) -> tuple[Tensor, Tensor]:
        """Logarithms of g and 1 - g, [B, T] each, float32 or wider."""
        gate = self.gate(states)[..., 0]
        gate = gate.to(torch.promote_types(gate.dtype, torch.float32))
        empty = ~source.mask.any(dim=-1, keepdim=True)
        return (
            F.logsigmoid(gate).masked_fill(empty, 0.0),
            F.logsigmoid(-gate).masked_fill(empty, _NEVER),
        )


def _scores(queries: Tensor, source: CopySource) -> Tensor:
    """Attention logits of queries [B, T, K] on the source, [B, T, S], float32 or wider."""
    scores = queries @ source.keys.mT * queries.shape[-1] ** -0.5
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    return scores.masked_fill(~source.mask[:, None], _NEVER)


def _copied(queries: Tensor, targets: Tensor, source: CopySource) -> Tensor:
    """Log-probability with which each target [B, T] is copied, [B, T]."""
    scores = _scores(queries, source)
    hits = (targets[..., None] == source.ids[:, None]) & source.mask[:, None]  # [B, T, S]
    hit = scores.masked_fill(~hits, _NEVER).logsumexp(dim=-1)
    return torch.where(hits.any(dim=-1), hit - scores.logsumexp(dim=-1), _NEVER)
