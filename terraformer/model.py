"""The Terraformer that picks sentences: encoder over tokens, decoder over sentences and picks."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from terraformer.blocks import Stack
from terraformer.config import TerraformerConfig
from terraformer.embedding import TokenEmbedding
from terraformer.heads import PointerHead, SentencePooling
from terraformer.join import Joined
from terraformer.stack_config import StackConfig


class Source(NamedTuple):
    """A batch of documents. Padding stands at the end of every axis.

    Attributes:
        ids: Token ids, [B, L], int64.
        token_mask: True at real tokens, [B, L].
        sentence_of_token: Sentence of each token, [B, L], int64; -1 for title, headings, padding.
        features: Sentence features, [B, S, n_features].
        sentence_mask: True at real sentences, [B, S].
        selectable: True at sentences that may be picked, [B, S].
        n_words: Words of each sentence, [B, S], int64.
    """

    ids: Tensor
    token_mask: Tensor
    sentence_of_token: Tensor
    features: Tensor
    sentence_mask: Tensor
    selectable: Tensor
    n_words: Tensor


class PointerOutput(NamedTuple):
    """Logits of the next pick, [B, T + 1, S + 1] (the last is the stop), and saliences, [B, S]."""

    logits: Tensor
    salience: Tensor


class PickState(NamedTuple):
    """What decoding carries from pick to pick.

    Attributes:
        sentences: Sentence states, [B, S, D].
        keys, salience: Of the pointer head, [B, S, D] and [B, S].
        allowed: Sentences that may still be picked, [B, S].
        words: Words picked so far, [B], int64.
        n_picks: Sentences picked so far.
        layers: State of the decoder's layers.
    """

    sentences: Tensor
    keys: Tensor
    salience: Tensor
    allowed: Tensor
    words: Tensor
    n_picks: int
    layers: Any


class Terraformer(nn.Module):
    """Reversible encoder over tokens, then over sentences; causal decoder without cross-attention.

    The decoder reads [sentence states ‖ picked sentences], joined without padding between them, and
    the pointer head scores each sentence, and the stop, as what follows.

    Source: Jaszczur et al. 2021, arXiv:2111.12763 (Terraformer); Gu et al. 2022 (picking with the
        history in view).
    Differs: targets are sentence states rather than token embeddings, and an encoder stack over
        sentence states stands between the token encoder and the decoder.
    """

    def __init__(self, config: TerraformerConfig) -> None:
        super().__init__()
        self.config = config
        d_token, d_model, eps = config.d_token, config.d_model, config.layer_norm_epsilon

        def stack(layers: StackConfig, width: int, causal: bool) -> Stack:
            return Stack(layers, width, causal, config.dropout, eps)

        self.embedding = TokenEmbedding(config.vocab_size, d_token)
        self.token_encoder = stack(config.token_encoder, d_token, causal=False)
        self.token_norm = nn.LayerNorm(d_token, eps=eps)
        self.pooling = SentencePooling(d_token, d_model)
        self.features = nn.Sequential(
            nn.Linear(config.n_features, 2 * d_model), nn.ReLU(), nn.Linear(2 * d_model, d_model)
        )
        self.sentence_encoder = stack(config.sentence_encoder, d_model, causal=False)
        self.sentence_norm = nn.LayerNorm(d_model, eps=eps)
        self.start = nn.Parameter(torch.randn(d_model) * 0.1)
        self.picked = nn.Linear(d_model, d_model)
        self.progress = nn.Linear(2, d_model)
        self.decoder = stack(config.decoder, d_model, causal=True)
        self.decoder_norm = nn.LayerNorm(d_model, eps=eps)
        self.pointer = PointerHead(d_model)
        self.dropout = nn.Dropout(config.dropout)

    def encode(self, source: Source) -> Tensor:
        """Returns the sentence states of `source`, [B, S, D]."""
        tokens = self.dropout(self.embedding(source.ids))
        tokens = self.token_norm(self.token_encoder(tokens, source.token_mask))
        pooled = self.pooling(tokens, source.sentence_of_token, source.features.shape[1])
        sentences = self.dropout(pooled) + self.features(source.features.to(pooled.dtype))
        return self.sentence_norm(self.sentence_encoder(sentences, source.sentence_mask))

    def forward(self, source: Source, picks: Tensor) -> PointerOutput:
        """Scores what follows each prefix of `picks`.

        Args:
            source: The documents.
            picks: Sentence indices in the order of picking, [B, T], int64; -1 pads the end.
        Returns:
            Logits after 0, 1, …, T picks; rows beyond a document's last pick mean nothing.
        """
        sentences = self.encode(source)
        targets = self._targets(sentences, picks, source.n_words)  # [B, T + 1, D]
        real = torch.ones(targets.shape[:2], dtype=torch.bool, device=targets.device)
        joined = Joined.of(source.sentence_mask, real)
        decoded = self.decoder(joined.join(sentences, targets), joined.mask)
        decoded = self.decoder_norm(decoded)
        states = joined.second(decoded)
        keys, salience = self.pointer.sentence_keys(sentences, decoded[:, : sentences.shape[1]])
        allowed = _allowed(source.selectable & source.sentence_mask, picks)
        return PointerOutput(self.pointer(states, keys, salience, allowed), salience)

    @torch.no_grad()
    def begin(self, source: Source) -> tuple[Tensor, PickState]:
        """Reads one document and returns the logits of the first pick, [1, S + 1], and the state.

        Raises:
            ValueError: if `source` holds more than one document or any padding.
        """
        if len(source.ids) != 1 or not (source.sentence_mask.all() and source.token_mask.all()):
            raise ValueError("decoding takes one document without padding at a time")
        sentences = self.encode(source)
        decoded, layers = self.decoder.prefill(sentences)
        keys, salience = self.pointer.sentence_keys(sentences, self.decoder_norm(decoded))
        state = PickState(
            sentences, keys, salience, source.selectable, source.n_words.new_zeros(1), 0, layers
        )
        return self._advance(self._start(state.words), state)

    @torch.no_grad()
    def step(self, pick: int, n_words: int, state: PickState) -> tuple[Tensor, PickState]:
        """Takes a sentence into the summary; returns the logits of the next, [1, S + 1].

        Args:
            pick: Index of the sentence.
            n_words: Its words.
            state: From `begin` or the step before.
        """
        allowed = state.allowed.clone()
        allowed[:, pick] = False
        state = state._replace(
            allowed=allowed, words=state.words + n_words, n_picks=state.n_picks + 1
        )
        target = self.picked(state.sentences[:, pick]) + self.progress(
            _progress(state.words, torch.full_like(state.words, state.n_picks))
        )
        return self._advance(target, state)

    def _advance(self, target: Tensor, state: PickState) -> tuple[Tensor, PickState]:
        decoded, layers = self.decoder.step(target, state.layers)
        logits = self.pointer(
            self.decoder_norm(decoded)[:, None], state.keys, state.salience, state.allowed[:, None]
        )
        return logits[:, 0], state._replace(layers=layers)

    def _start(self, words: Tensor) -> Tensor:
        return self.start + self.progress(_progress(words, torch.zeros_like(words)))

    def _targets(self, sentences: Tensor, picks: Tensor, n_words: Tensor) -> Tensor:
        index = picks.clamp_min(0)
        chosen = sentences.gather(1, index[..., None].expand(-1, -1, sentences.shape[-1]))
        words = (n_words.gather(1, index) * (picks >= 0)).cumsum(dim=1)
        counts = torch.arange(1, picks.shape[1] + 1, device=picks.device).expand_as(picks)
        followed = self.picked(chosen) + self.progress(_progress(words, counts))
        return torch.cat([self._start(words.new_zeros(len(picks)))[:, None], followed], dim=1)


def _progress(words: Tensor, n_picks: Tensor) -> Tensor:
    """How far the summary has come, [..., 2]: words in hundreds and picks in tens."""
    return torch.stack([words / 100, n_picks / 10], dim=-1).float()


def _allowed(selectable: Tensor, picks: Tensor) -> Tensor:
    """Sentences open to the pick after 0, 1, …, T picks, [B, T + 1, S]."""
    n_sentences = selectable.shape[1]
    index = torch.where(picks < 0, n_sentences, picks)
    taken = nn.functional.one_hot(index, n_sentences + 1)[..., :n_sentences].cumsum(dim=1) > 0
    none = torch.zeros_like(taken[:, :1])
    return selectable[:, None] & ~torch.cat([none, taken], dim=1)
