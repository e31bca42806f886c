"""Ending a written text near a number of words, at the end of a sentence."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from terraformer.sentence_splitter import split_sentences
from terraformer.tokenizer import EOS_ID, Tokenizer
from terraformer.written_text import ends_with_sentence

_TOKENS_PER_WORD = 2.5  # more than any prose needs
_OVERRUN = 1.25  # how far the last sentence may go beyond the goal, and
_MARGIN = 40  # words beside


class LengthGoal:
    """Ends a text where one more sentence of its mean length would lead further from the goal.

    From half of the goal on the model may end it before: a model that must go on when all is said
    writes what nobody should read.

    Args:
        n_words: The goal.
        tokenizer: Of the ids.
        count: Counts the words of a text that are to be counted; all by default.
    """

    def __init__(
        self,
        n_words: int,
        tokenizer: Tokenizer,
        count: Callable[[str], int] | None = None,
    ) -> None:
        self._goal = n_words
        self._tokenizer = tokenizer
        self._count = count or (lambda text: len(text.split()))

    @property
    def max_tokens(self) -> int:
        """Tokens after which a text that has found no end is broken off."""
        return math.ceil((self._goal * _OVERRUN + _MARGIN) * _TOKENS_PER_WORD)

    def may_end(self, ids: Sequence[int]) -> bool:
        """Whether the text has half of the words."""
        return 2 * self._count(self._tokenizer.decode(list(ids))) >= self._goal

    def ends(self, ids: Sequence[int], next_id: int) -> bool:
        """Whether the text is that near, a sentence is complete, and a new word would follow."""
        if next_id == EOS_ID:
            return True
        if not ids or not self._tokenizer.starts_word[next_id]:
            return False
        text = self._tokenizer.decode(list(ids))
        return self._is_near(text) and ends_with_sentence(text)

    def _is_near(self, text: str) -> bool:
        n_words = self._count(text)
        if 1.5 * n_words < self._goal:
            return False  # not even if all of it were one sentence
        n_sentences = max(1, len(split_sentences(text)))
        return n_words + n_words / n_sentences / 2 >= self._goal


class LengthLimit(LengthGoal):
    """Ends a text where `LengthGoal` would, but lets the model end it before."""

    def may_end(self, ids: Sequence[int]) -> bool:
        """Whether the text has begun."""
        return len(ids) > 0
