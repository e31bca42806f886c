"""Copying tokens of the source: a distribution over them, mixed with that of the vocabulary."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
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
_NO_TOKEN = -1  # before the first


@dataclass(frozen=True)
class CopySource:
    """What copying needs of a source; nothing changes it.

    Attributes:
        keys: [B, S, K].
        ids: [B, S], int64.
        mask: [B, S], True for real tokens.
        last: The tokens read last before each target, the newest last, [B, T, run_len], int64.
    """

    keys: Tensor
    ids: Tensor
    mask: Tensor
    last: Tensor

    def after(self, ids_t: Tensor) -> CopySource:
        """Returns the source as it is looked at after one more token is read, [B], int64."""
        run_len = self.last.shape[-1]
        longer = torch.cat([self.last, ids_t[:, None, None]], dim=-1)
        return replace(self, last=longer[..., longer.shape[-1] - run_len :])

    def along(self, read_ids: Tensor) -> CopySource:
        """Returns the source as it is looked at after each of the tokens that are read, [B, T]."""
        run_len = self.last.shape[-1]
        if not run_len:
            return replace(self, last=read_ids.new_empty(*read_ids.shape, 0))
        padded = F.pad(read_ids, (run_len - 1, 0), value=_NO_TOKEN)
        return replace(self, last=padded.unfold(1, run_len, 1))

    def __deepcopy__(self, memo: dict[int, Any]) -> CopySource:
        return self


class CopyHead(nn.Module):
    """Mixes two ways to the next token: p = g · p_vocabulary + (1 - g) · p_copy.

    p_copy is the sum of attention from the decoder's final state to the encoder's states over all
    places of the source that hold the token; g is a sigmoid of the decoder's final state. Where
    `run_len` is above 0, each token before a place that is the one written at the same distance,
    up to the first that is not, adds a learned weight to the place's score, and the longest such
    run of all places others to the logit of 1 - g: what has been copied goes on being copied
    without the attention having to find its place again.

    Args:
        config: Of the path.
        d_model: Width of the states on both sides, D.
        layer_norm_epsilon: Added to the variance.
    Source: See et al. 2017, arXiv:1704.04368, equations 8 and 9.
    Differs: attends with queries and keys of its own, scaled, rather than with the additive
        attention of the decoder; g knows the decoder's state alone, which has seen source and last
        token; no token lies outside the vocabulary; no coverage, as decoding blocks repetition;
        runs are ours.
    """

    def __init__(self, config: CopyConfig, d_model: int, layer_norm_epsilon: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(d_model, eps=layer_norm_epsilon)
        self.key = new_dense(d_model, config.d_key)
        self.query = new_dense(d_model, config.d_key)
        self.gate = new_dense(d_model, 1)
        self.run_len = config.run_len
        if self.run_len:
            self.run_scores = nn.Parameter(torch.full((self.run_len,), 2.0))
            self.run_gates = nn.Parameter(torch.zeros(self.run_len))

    def read(self, states: Tensor, ids: Tensor, mask: Tensor | None = None) -> CopySource:
        """Reads a source.

        Args:
            states: Of the encoder, [B, S, D].
            ids: [B, S], int64.
            mask: [B, S], True for real tokens; all are real if None.
        """
        if mask is None:
            mask = torch.ones_like(ids, dtype=torch.bool)
        last = ids.new_full((len(ids), 1, self.run_len), _NO_TOKEN)
        return CopySource(self.key(self.norm(states)), ids, mask, last)

    def mix(self, logits: Tensor, states: Tensor, source: CopySource) -> Tensor:
        """Returns the log-probabilities of the mixture.

        Args:
            logits: Of the loss layer, [B, T, V].
            states: Final states of the decoder, [B, T, D].
            source: From `read`, looked at `after` or `along` the tokens before the targets.
        Returns:
            [B, T, V], float32 (float64 where the logits have it): normalized, so they are logits
            too. Without any real source token the vocabulary speaks alone.
        """
        wide = torch.promote_types(logits.dtype, torch.float32)
        runs = _runs(source, self.run_len)
        weights = self._scores(states, source, runs).to(wide).softmax(dim=-1)
        ids = source.ids[:, None].expand(-1, states.shape[1], -1)
        copied = torch.zeros_like(logits, dtype=wide).scatter_add(-1, ids, weights)
        gates = self._log_gates(states, source, runs)
        write, copy = (item[..., None].to(wide) for item in gates)
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
        chunk_len = chunk_len or max(1, _MAX_SCORES // max(1, source.ids.numel()))
        last = source.last.expand(-1, states.shape[1], -1)
        paths = [
            checkpoint(self._paths, *chunk, source, use_reentrant=False, preserve_rng_state=False)
            for chunk in zip(
                *(item.split(chunk_len, dim=1) for item in (states, targets, last)), strict=True
            )
        ]
        write, copied = (
            torch.cat(parts, dim=1)[mask].to(written.dtype) for parts in zip(*paths, strict=True)
        )
        likelihood = torch.logaddexp(write + written, copied)
        return -likelihood.sum().float(), mask.sum()

    def _paths(
        self, states: Tensor, targets: Tensor, last: Tensor, source: CopySource
    ) -> tuple[Tensor, Tensor]:
        """Log-probabilities of writing at all, and of copying each target, [B, T] each."""
        runs = _runs(replace(source, last=last), self.run_len)
        scores = self._scores(states, source, runs)
        write, copy = self._log_gates(states, source, runs)
        hits = (targets[..., None] == source.ids[:, None]) & source.mask[:, None]  # [B, T, S]
        hit = scores.masked_fill(~hits, _NEVER).logsumexp(dim=-1)
        copied = torch.where(hits.any(dim=-1), hit - scores.logsumexp(dim=-1), _NEVER)
        return write, copy + copied

    def _scores(self, states: Tensor, source: CopySource, runs: list[Tensor]) -> Tensor:
        """Attention logits of states [B, T, D] on the source, [B, T, S], float32 or wider."""
        queries = self.query(states)
        scores = queries @ source.keys.mT * queries.shape[-1] ** -0.5
        scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
        for n, run in enumerate(runs):
            scores = scores + self.run_scores[n].to(scores.dtype) * run
        return scores.masked_fill(~source.mask[:, None], _NEVER)

    def _log_gates(
        self, states: Tensor, source: CopySource, runs: list[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Logarithms of g and 1 - g, [B, T] each, float32 or wider."""
        gate = self.gate(states)[..., 0]
        gate = gate.to(torch.promote_types(gate.dtype, torch.float32))
        for n, run in enumerate(runs):
            gate = gate - self.run_gates[n].to(gate.dtype) * run.any(dim=-1)
        empty = ~source.mask.any(dim=-1, keepdim=True)
        return (
            F.logsigmoid(gate).masked_fill(empty, 0.0),
            F.logsigmoid(-gate).masked_fill(empty, _NEVER),
        )


def _runs(source: CopySource, run_len: int) -> list[Tensor]:
    """Which places follow a run of 1, 2, … tokens that were read last, [B, T, S] each."""
    runs: list[Tensor] = []
    for n in range(1, run_len + 1):
        before = F.pad(source.ids, (n, 0), value=_NO_TOKEN - 1)[:, : source.ids.shape[1]]
        same = (before[:, None] == source.last[..., -n, None]) & source.mask[:, None]
        runs.append(same & runs[-1] if runs else same)
    return runs
