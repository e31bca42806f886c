"""Choosing tokens on the device that has the logits, without asking it anything."""

from __future__ import annotations

import torch
from torch import Tensor

from terraformer.writing_config import WritingConfig


class TokenDraw:
    """Chooses the likeliest tokens, or draws them; the same again for a seed.

    Args:
        config: Temperature, `top_p` and seed.
        device: Where logits are.
    Attributes:
        generator: Of the draws; None where nothing is drawn.
    Source: Holtzman et al. 2020, arXiv:1904.09751, section 3.1, for `top_p`.
    Differs: draws by the largest quotient of probability and exponential noise, which needs no sum
        on the host; the tokens of a seed are not those of `terraformer.generation.TokenChoice`.
    """

    def __init__(self, config: WritingConfig, device: torch.device) -> None:
        self._config = config
        self.generator = None
        if config.temperature:
            self.generator = torch.Generator(device)
            self.restart()

    def restart(self) -> None:
        """Begins with the first draw again."""
        if self.generator is not None:
            self.generator.manual_seed(self._config.seed)

    def __call__(self, logits: Tensor) -> Tensor:
        """Returns the next tokens, [B], int64, given logits [B, V]."""
        if self.generator is None:
            return logits.argmax(dim=-1)
        likely = (logits.float() / self._config.temperature).softmax(dim=-1)
        tokens = None
        if self._config.top_p < 1:
            likely, tokens = likely.sort(dim=-1, descending=True, stable=True)
            # A token belongs to the nucleus if those before it do not reach top_p.
            outside = likely.cumsum(dim=-1) - likely >= self._config.top_p
            likely = likely.masked_fill(outside, 0.0)
        noise = torch.empty_like(likely).exponential_(generator=self.generator)
        smallest = torch.finfo(noise.dtype).tiny  # 0 / 0 would win
        chosen = (likely / noise.clamp_min_(smallest)).argmax(dim=-1, keepdim=True)
        return (chosen if tokens is None else tokens.gather(-1, chosen))[:, 0]
