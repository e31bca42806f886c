"""From token states to sentence states, and from decoder states to the next pick."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

BLOCKED = -1e9  # logit of a sentence that may not be picked


class SentencePooling(nn.Module):
    """Pools the tokens of each sentence by learned attention, one weight a head and token.

    Args:
        d_token: Width of a token state.
        d_model: Width of a sentence state, D.
        n_heads: Heads, each a slice of the token state.
    """

    def __init__(self, d_token: int, d_model: int, n_heads: int = 4) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.score = nn.Linear(d_token, n_heads)
        self.out = nn.Linear(d_token, d_model)

    def forward(self, tokens: Tensor, sentence_of_token: Tensor, n_sentences: int) -> Tensor:
        """Returns one vector a sentence, [B, S, D].

        Args:
            tokens: Token states, [B, L, d_token].
            sentence_of_token: Sentence of each token, [B, L], int64; -1 for tokens of none.
            n_sentences: S.
        """
        batch, length, d_token = tokens.shape
        # One spare row a document takes the tokens of no sentence.
        spare = n_sentences + 1
        rows = torch.where(sentence_of_token < 0, n_sentences, sentence_of_token)
        rows = rows + spare * torch.arange(batch, device=tokens.device)[:, None]
        rows = rows.flatten()  # [B * L]
        # Bounded scores make the exponentials safe without a maximum for each sentence.
        weight = torch.exp(10 * torch.tanh(self.score(tokens).float() / 10))  # [B, L, H]
        value = tokens.view(batch, length, self.n_heads, -1)
        weighted = (weight[..., None].to(value.dtype) * value).reshape(batch * length, d_token)
        total = weighted.new_zeros(batch * spare, d_token).index_add(0, rows, weighted)
        norm = weight.new_zeros(batch * spare, self.n_heads).index_add(
            0, rows, weight.flatten(0, 1)
        )
        pooled = total.view(batch, spare, self.n_heads, -1) / norm.clamp_min(1e-9).to(
            total.dtype
        ).view(batch, spare, self.n_heads, 1)
        return self.out(pooled[:, :n_sentences].flatten(2))


class PointerHead(nn.Module):
    """Scores every sentence as the next pick, and the stop.

    A sentence's logit is its salience, which does not depend on the picks, plus the match of the
    decoder's query with the sentence's key.
    """

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.key = nn.Linear(d_model, d_model, bias=False)
        self.query = nn.Linear(d_model, d_model, bias=False)
        self.salience = nn.Sequential(
            nn.Linear(2 * d_model, d_model), nn.ReLU(), nn.Linear(d_model, 1)
        )
        self.stop = nn.Linear(d_model, 1)

    def sentence_keys(self, encoded: Tensor, decoded: Tensor) -> tuple[Tensor, Tensor]:
        """Returns what does not depend on the picks: keys [B, S, D] and saliences [B, S].

        Args:
            encoded: Sentence states as the encoder left them, [B, S, D].
            decoded: The same after the decoder, [B, S, D].
        """
        both = torch.cat([encoded, decoded], dim=-1)
        return self.key(encoded), self.salience(both).squeeze(-1)

    def forward(self, states: Tensor, keys: Tensor, salience: Tensor, allowed: Tensor) -> Tensor:
        """Returns logits, [B, T, S + 1], float32; the last is the stop.

        Args:
            states: Decoder states of the targets, [B, T, D].
            keys: From `sentence_keys`, [B, S, D].
            salience: From `sentence_keys`, [B, S].
            allowed: True where a sentence may still be picked, [B, T, S].
        """
        match = self.query(states) @ keys.transpose(1, 2) / math.sqrt(keys.shape[-1])
        logits = (salience[:, None] + match).float().masked_fill(~allowed, BLOCKED)
        return torch.cat([logits, self.stop(states).float()], dim=-1)
