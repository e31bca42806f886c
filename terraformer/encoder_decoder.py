"""Encoder and decoder over tokens: Terraformer, and Transformers with cross-attention."""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from terraformer.blocks import Stack, mean
from terraformer.config import EncoderDecoderConfig
from terraformer.copy_head import CopyHead, CopySource
from terraformer.embedding import embed_tokens
from terraformer.join import Joined
from terraformer.language_model import START_ID, TokenState, build_stack, shift_right
from terraformer.positions import build_positions
from terraformer.residual import Memory, ResidualStack
from terraformer.reversible import Streams
from terraformer.sparse_dense import new_dense
from terraformer.vocabulary_head import build_head, token_loss


class Foresight(NamedTuple):
    """From what the tokens of a target are predicted.

    Attributes:
        states: [B, T, D]; position t knows the source and the target's tokens before it.
        source: What a copy path needs of the source, as it is looked at along the target; None
            without one.
    """

    states: Tensor
    source: CopySource | None


class EncoderDecoder(nn.Module):
    """Predicts each token of a target from the source and the target's tokens before it.

    Without cross-attention in its config, the decoder is causal over [source states ‖ target
    states], joined without padding between them: a Terraformer. With it, the decoder reads the
    target alone and attends to the source: a Scaling or Switch Transformer.

    Args:
        config: Of the model.
        recompute: Whether training of reversible layers recomputes activations.
    Source: Jaszczur et al. 2021, arXiv:2111.12763; google/trax ConfigurableTerraformer and
        ConfigurableTransformer.
    """

    def __init__(self, config: EncoderDecoderConfig, recompute: bool = True) -> None:
        super().__init__()
        self.config = config
        d_model, dropout, eps = config.d_model, config.dropout, config.layer_norm_epsilon
        self.joins = config.decoder.cross_attention is None
        self.embedding = embed_tokens(config.vocab_size, d_model)
        self.source_positions = build_positions(config.source_positions, d_model)
        self.target_positions = build_positions(config.target_positions, d_model)
        self.encoder = build_stack(config.encoder, d_model, False, dropout, eps, recompute)
        self.bridge = None
        if not self.joins:
            self.bridge = nn.LayerNorm(d_model, eps=eps)
        elif not config.pass_both_streams:
            self.bridge = nn.Sequential(new_dense(d_model, d_model), nn.LayerNorm(d_model, eps=eps))
        self.decoder = build_stack(config.decoder, d_model, True, dropout, eps, recompute)
        self.norm = nn.LayerNorm(d_model, eps=eps)
        self.head = build_head(config.head, d_model, config.vocab_size)
        self.copy = None if config.copy is None else CopyHead(config.copy, d_model, eps)
        self.dropout = nn.Dropout(dropout)

    def encode(self, source_ids: Tensor, source_mask: Tensor | None = None) -> Streams:
        """Returns the source's states, two streams of [B, S, D]; the same twice if there is one."""
        x = self._embed(source_ids, self.source_positions, 0)
        if isinstance(self.encoder, Stack):
            streams = self.encoder.streams(x, x, source_mask)
        else:
            streams = (x, x) = (self.encoder(x, source_mask),) * 2
        if self.bridge is None:
            return streams
        bridged = self.bridge(mean(streams))
        return bridged, bridged

    def forward(
        self,
        source_ids: Tensor,
        target_ids: Tensor,
        source_mask: Tensor | None = None,
        target_mask: Tensor | None = None,
    ) -> Tensor:
        """Returns the states from which each target token is predicted.

        Args:
            source_ids: [B, S], int64.
            target_ids: [B, T], int64.
            source_mask: [B, S], True for real tokens, padding at the end; all are real if None.
            target_mask: The same for the target, [B, T].
        Returns:
            [B, T, D]; position t knows the source and target_ids[:, :t].
        """
        return self.foresee(source_ids, target_ids, source_mask, target_mask).states

    def foresee(
        self,
        source_ids: Tensor,
        target_ids: Tensor,
        source_mask: Tensor | None = None,
        target_mask: Tensor | None = None,
    ) -> Foresight:
        """As `forward`, with what a copy path needs of the source."""
        source = self.encode(source_ids, source_mask)
        read_ids = shift_right(target_ids)
        target = self._embed(read_ids, self.target_positions, 0)
        if isinstance(self.decoder, ResidualStack):
            out = self.decoder(target, target_mask, Memory(source[0], source_mask))
        else:
            joined = Joined.of(_mask(source_ids, source_mask), _mask(target_ids, target_mask))
            x1, x2 = (joined.join(stream, target) for stream in source)
            out = joined.second(mean(self.decoder.streams(x1, x2, joined.mask)))
        copied = self._copy_source(source, source_ids, source_mask)
        return Foresight(self.norm(out), copied and copied.along(read_ids))

    def logits(
        self,
        source_ids: Tensor,
        target_ids: Tensor,
        source_mask: Tensor | None = None,
        target_mask: Tensor | None = None,
    ) -> Tensor:
        """Returns the logits of each target token, [B, T, vocab_size]; arguments of `forward`.

        With a copy path they are the log-probabilities of the mixture.
        """
        states, source = self.foresee(source_ids, target_ids, source_mask, target_mask)
        return self._mixed(self.head(states), states, source)

    def loss(
        self,
        source_ids: Tensor,
        target_ids: Tensor,
        source_mask: Tensor | None = None,
        target_mask: Tensor | None = None,
    ) -> Tensor:
        """Returns the mean cross-entropy of the real target tokens, in nats, a scalar."""
        foresight = self.foresee(source_ids, target_ids, source_mask, target_mask)
        return self.loss_of(foresight, target_ids, target_mask)

    def loss_of(
        self, foresight: Foresight, target_ids: Tensor, target_mask: Tensor | None = None
    ) -> Tensor:
        """Returns `loss`, of what `foresee` returned for the same target; 0 if it is all padding.

        Neither logits nor scores of copying are held for more than a chunk of targets.
        """
        states, source = foresight
        if self.copy is None:
            return token_loss(self.head, states, target_ids, target_mask)
        assert source is not None
        total, count = self.copy.loss_sum(self.head, states, target_ids, target_mask, source)
        return total / count.clamp_min(1)

    @torch.no_grad()
    def begin(
        self, source_ids: Tensor, source_mask: Tensor | None = None
    ) -> tuple[Tensor, TokenState]:
        """Reads the source in evaluation.

        Args:
            source_ids: [B, S], int64; B is 1 where the decoder joins source and target.
            source_mask: [B, S], True for real tokens, padding at the end; all are real if None.
        Returns:
            Logits of the first target token, [B, vocab_size]; the state from which `step` goes on.
        Raises:
            ValueError: if several sources are given to a decoder that joins.
        """
        if self.joins:
            if len(source_ids) != 1:
                raise ValueError(
                    f"source_ids of {len(source_ids)} documents: a decoder that joins source and "
                    "target decodes one at a time"
                )
            if source_mask is not None:
                source_ids = source_ids[:, : int(source_mask.sum())]
                source_mask = None
            streams = self.encode(source_ids)
            _, layers = cast(Stack, self.decoder).prefill_streams(*streams)
        else:
            streams = self.encode(source_ids, source_mask)
            layers = cast(ResidualStack, self.decoder).begin(Memory(streams[0], source_mask))
        state = TokenState(0, layers, self._copy_source(streams, source_ids, source_mask))
        return self.step(source_ids.new_full((len(source_ids),), START_ID), state)

    @torch.no_grad()
    def step(self, ids_t: Tensor, state: TokenState) -> tuple[Tensor, TokenState]:
        """Reads one more target token, [B], int64; returns the logits of the next and the state."""
        x_t = self._embed(ids_t[:, None], self.target_positions, state.position)[:, 0]
        out, layers = self.decoder.step(x_t, state.layers)
        state_t = self.norm(out)
        source = state.source and state.source.after(ids_t)
        logits = self._mixed(self.head(state_t)[:, None], state_t[:, None], source)[:, 0]
        return logits, TokenState(state.position + 1, layers, source)

    def _copy_source(self, streams: Streams, ids: Tensor, mask: Tensor | None) -> CopySource | None:
        return None if self.copy is None else self.copy.read(mean(streams), ids, mask)

    def _mixed(self, logits: Tensor, states: Tensor, source: CopySource | None) -> Tensor:
        if self.copy is None:
            return logits
        assert source is not None
        return self.copy.mix(logits, states, source)

    def _embed(self, ids: Tensor, positions: nn.Module | None, start: int) -> Tensor:
        x = self.dropout(self.embedding(ids))
        return x if positions is None else positions(x, start)


def _mask(ids: Tensor, mask: Tensor | None) -> Tensor:
    return torch.ones_like(ids, dtype=torch.bool) if mask is None else mask
