"""Writing a text token by token: greedily, by drawing, or as a beam."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from terraformer.passage import Passage
from terraformer.repetition import TrigramBlock
from terraformer.tokenizer import EOS_ID, PAD_ID
from terraformer.writing_config import WritingConfig


class Decoder(Protocol):
    """A model or a fast decoder: reads a source, then tokens; a step may change its state.

    A state can be copied with `copy.deepcopy`.
    """

    def begin(self, source_ids: Tensor, /) -> tuple[Tensor, Any]:
        """Reads [1, S]; returns logits [1, V] and the state."""
        ...

    def step(self, ids_t: Tensor, state: Any, /) -> tuple[Tensor, Any]:
        """Reads [1]; returns logits [1, V] and the state."""
        ...


class Ending(Protocol):
    """Decides where a text may and must end."""

    def may_end(self, ids: Sequence[int]) -> bool:
        """Whether end-of-sequence may follow the tokens."""
        ...

    def ends(self, ids: Sequence[int], next_id: int) -> bool:
        """Whether the text is finished, now that `next_id` would follow."""
        ...


class FreeEnding:
    """Leaves the end to the model, but for the least number of tokens."""

    def __init__(self, min_tokens: int = 0) -> None:
        self._min_tokens = min_tokens

    def may_end(self, ids: Sequence[int]) -> bool:
        return len(ids) >= self._min_tokens

    def ends(self, ids: Sequence[int], next_id: int) -> bool:
        return next_id == EOS_ID


@dataclass(frozen=True)
class WritingRules:
    """What a text must obey, whatever the model's probabilities.

    Attributes:
        ending: Where it may and must end.
        max_tokens: Its most tokens.
        new_block: Makes what watches for repetition; None allows it.
        new_passage: Makes what follows the text in its source; None does not care.
        departure_penalty: Nats by which a token is less likely that leaves a passage of the source
            in the middle of a sentence.
    """

    ending: Ending
    max_tokens: int
    new_block: Callable[[], TrigramBlock] | None = None
    new_passage: Callable[[], Passage] | None = None
    departure_penalty: float = 0.0

    def discouraged(self, logits: Tensor, passage: Passage | None) -> Tensor:
        """Returns logits [V], float32, less the penalty where a token would leave `passage`."""
        logits = logits.float()
        following = None if passage is None else passage.following
        if following is None:
            return logits
        going_on = torch.from_numpy(following).to(logits.device)
        less = logits - self.departure_penalty
        less[going_on] = logits[going_on]
        return less

    def allowed(
        self,
        logits: Tensor,
        ids: Sequence[int],
        block: TrigramBlock | None,
        passage: Passage | None = None,
    ) -> Tensor:
        """Returns logits [V], float32, minus infinity where a token may not follow `ids`.

        Words may come back in another passage of the source than the one that they were copied
        from. Where nothing may follow, the text may end.
        """
        logits = logits.float().clone()
        logits[PAD_ID] = -torch.inf
        if not self.ending.may_end(ids):
            logits[EOS_ID] = -torch.inf
        blocked = block.blocked if block is not None else frozenset()
        if blocked and passage is not None:
            blocked -= passage.fresh
        if blocked:
            logits[list(blocked)] = -torch.inf
        if logits.isinf().all():
            logits[EOS_ID] = 0.0
        return logits


def iterate_tokens(
    decoder: Decoder, source_ids: Tensor, config: WritingConfig, rules: WritingRules
) -> Generator[int, None, bool]:
    """Yields the tokens of a text as they become final.

    Args:
        decoder: In evaluation.
        source_ids: [1, S], int64, where the decoder works.
        config: How tokens are chosen.
        rules: What the text must obey.
    Returns:
        Whether the text is finished; else it met the most tokens first.
    """
    if config.beam_size > 1:
        from terraformer.beam_search import iterate_beam

        return (yield from iterate_beam(decoder, source_ids, config, rules)).finished
    choose = TokenChoice(config)
    block = rules.new_block() if rules.new_block else None
    passage = rules.new_passage() if rules.new_passage else None
    ids: list[int] = []
    logits, state = decoder.begin(source_ids)
    while True:
        likely = rules.discouraged(logits[0].cpu(), passage)
        chosen = choose(rules.allowed(likely, ids, block, passage))
        if rules.ending.ends(ids, chosen):
            return True
        if len(ids) == rules.max_tokens:
            return False
        ids.append(chosen)
        if block is not None:
            block.add(chosen)
        if passage is not None:
            passage.add(chosen)
        yield chosen
        logits, state = decoder.step(torch.tensor([chosen], device=source_ids.device), state)


class TokenChoice:
    """Chooses a token: the likeliest, or one that is drawn; the same again for a seed.

    Source: Holtzman et al. 2020, arXiv:1904.09751, section 3.1, for `top_p`.
    """

    def __init__(self, config: WritingConfig) -> None:
        self._config = config
        self._random = torch.Generator().manual_seed(config.seed)

    def __call__(self, logits: Tensor) -> int:
        """Returns the next token, given logits [V] on the CPU."""
        if not self._config.temperature:
            return int(logits.argmax())
        scaled = (logits.double() / self._config.temperature).softmax(dim=-1)
        likely, tokens = scaled.sort(descending=True, stable=True)
        # A token belongs to the nucleus if those before it do not reach top_p.
        likely[likely.cumsum(dim=-1) - likely >= self._config.top_p] = 0.0
        return int(tokens[torch.multinomial(likely, 1, generator=self._random)])
