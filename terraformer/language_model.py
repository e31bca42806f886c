"""A causal language model of any stack and loss layer: Scaling Transformer, Reformer, Switch."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from terraformer.blocks import Stack, mean
from terraformer.config import LanguageModelConfig
from terraformer.copy_head import CopySource
from terraformer.embedding import embed_tokens
from terraformer.positions import build_positions
from terraformer.residual import ResidualStack
from terraformer.stack_config import StackConfig
from terraformer.vocabulary_head import build_head, token_loss

START_ID = 0


class TokenState(NamedTuple):
    """What decoding carries from token to token.

    Attributes:
        position: Of the next token that is read.
        layers: State of the decoder's layers; a step changes it in place.
        source: What a copy path needs of the source; None without one.
    """

    position: int
    layers: Any
    source: CopySource | None = None


class LanguageModel(nn.Module):
    """Predicts each token from those before it.

    Args:
        config: Of the model.
        recompute: Whether training of reversible layers recomputes activations.
    Source: Jaszczur et al. 2021, arXiv:2111.12763 (Scaling Transformer); Kitaev et al. 2020,
        arXiv:2001.04451 (Reformer, which joins its streams end to end).
    """

    def __init__(self, config: LanguageModelConfig, recompute: bool = True) -> None:
        super().__init__()
        self.config = config
        d_model, eps = config.d_model, config.layer_norm_epsilon
        self.embedding = embed_tokens(config.vocab_size, d_model)
        self.positions = build_positions(config.positions, d_model)
        self.decoder = build_stack(config.decoder, d_model, True, config.dropout, eps, recompute)
        width = 2 * d_model if config.join_streams == "concatenated" else d_model
        self.norm = nn.LayerNorm(width, eps=eps)
        self.head = build_head(config.head, width, config.vocab_size)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        """Returns the states from which each token is predicted.

        Args:
            ids: Token ids, [B, L], int64.
            mask: [B, L], True for real tokens, padding at the end; all are real if None.
        Returns:
            [B, L, D], or [B, L, 2 D] where streams are concatenated; position t knows ids[:, :t].
        """
        x = self._embed(shift_right(ids), 0)
        return self._finish(self._run(x, mask))

    def logits(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        """Returns the logits of each token given those before it, [B, L, vocab_size]."""
        return self.head(self(ids, mask))

    def loss(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        """Returns the mean cross-entropy of the real tokens, in nats, a scalar."""
        return token_loss(self.head, self(ids, mask), ids, mask)

    @torch.no_grad()
    def begin(self, ids: Tensor) -> tuple[Tensor, TokenState]:
        """Reads a prompt, [B, P], of which P may be 0.

        Returns:
            Logits of the token after it, [B, vocab_size]; the state from which `step` goes on.
        """
        x = self._embed(torch.nn.functional.pad(ids, (1, 0), value=START_ID), 0)
        if isinstance(self.decoder, Stack):
            streams, layers = self.decoder.prefill_streams(x, x)
            out = self._join(streams)
        else:
            out, layers = self.decoder.prefill(x)
        return self.head(self._finish(out[:, -1])), TokenState(x.shape[1], layers)

    @torch.no_grad()
    def step(self, ids_t: Tensor, state: TokenState) -> tuple[Tensor, TokenState]:
        """Reads one more token, [B], int64; returns the logits of the next and the state."""
        x_t = self._embed(ids_t[:, None], state.position)[:, 0]
        if isinstance(self.decoder, Stack):
            streams, layers = self.decoder.step_streams(x_t, x_t, state.layers)
            out = self._join(streams)
        else:
            out, layers = self.decoder.step(x_t, state.layers)
        return self.head(self._finish(out)), TokenState(state.position + 1, layers)

    def _embed(self, ids: Tensor, start: int) -> Tensor:
        x = self.dropout(self.embedding(ids))
        return x if self.positions is None else self.positions(x, start)

    def _run(self, x: Tensor, mask: Tensor | None) -> Tensor:
        if isinstance(self.decoder, Stack):
            return self._join(self.decoder.streams(x, x, mask))
        return self.decoder(x, mask)

    def _join(self, streams: tuple[Tensor, Tensor]) -> Tensor:
        if self.config.join_streams == "concatenated":
            return torch.cat(streams, dim=-1)
        return mean(streams)

    def _finish(self, x: Tensor) -> Tensor:
        return self.dropout(self.norm(x))


def shift_right(ids: Tensor) -> Tensor:
    """Puts the start id before ids [B, L] and drops the last of them."""
    return torch.nn.functional.pad(ids[:, :-1], (1, 0), value=START_ID)


def build_stack(
    config: StackConfig,
    d_model: int,
    causal: bool,
    dropout: float,
    layer_norm_epsilon: float,
    recompute: bool = True,
) -> Stack | ResidualStack:
    """Returns the stack that belongs to the config's residual."""
    if config.residual == "standard":
        return ResidualStack(config, d_model, causal, dropout, layer_norm_epsilon)
    return Stack(config, d_model, causal, dropout, layer_norm_epsilon, recompute)
