"""A text is followed in its source."""

from __future__ import annotations

from collections.abc import Generator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from app.readers import read_document
from terraformer.beam_search import iterate_beam
from terraformer.encoder_decoder import EncoderDecoder
from terraformer.generation import FreeEnding, WritingRules, iterate_tokens
from terraformer.passage import Passage
from terraformer.repetition import TrigramBlock
from terraformer.summarizer import Summarizer
from terraformer.summary import SummaryOptions
from terraformer.tokenizer import EOS_ID
from terraformer.writing_config import WritingConfig

# Two sentences that share three tokens, and the end.
SOURCE = np.array([10, 11, 12, 13, 14, 20, 21, 11, 12, 13, 22, EOS_ID])
BEGINS = np.isin(np.arange(12), [0, 5, 11])


def after(*tokens: int) -> Passage:
    passage = Passage(SOURCE, BEGINS)
    for token in tokens:
        passage.add(token)
    return passage


def test_a_passage_goes_on_where_most_tokens_agree() -> None:
    assert after().following is None
    assert after(10, 11).following is None  # too little to be a passage
    both = after(99, 11, 12, 13).following
    assert both is not None
    assert both.tolist() == [14, 22]
    longer = after(21, 11, 12, 13).following
    assert longer is not None
    assert longer.tolist() == [22]


def test_after_a_sentence_anything_may_follow() -> None:
    assert after(11, 12, 13, 14).following is None
    assert after(11, 12, 13, 22).following is None
    assert after(11, 12, 13, 22).fresh == frozenset()


def test_what_was_copied_from_a_place_is_not_fresh_there() -> None:
    passage = after(10, 11, 12)
    assert passage.fresh == {13}
    for token in (13, 14, 10, 11, 12):
        passage.add(token)
    assert passage.following is not None
    assert passage.fresh == frozenset()
    other = after(10, 11, 12, 13, 20, 21, 11)
    assert other.fresh == {12}  # the same words, of another sentence


def test_a_copy_goes_its_own_way() -> None:
    passage = after(10, 11, 12)
    other = deepcopy(passage)
    other.add(99)
    assert other.following is None
    assert passage.fresh == {13}
    passage.add(13)
    assert not np.array_equal(passage._is_copied, other._is_copied)


class Preferring:
    """Likes some tokens in turn best, and what the source goes on with by a nat less."""

    def __init__(self, liked: list[int], others: list[int]) -> None:
        self.liked, self.others = liked, others

    def begin(self, source_ids: Tensor) -> tuple[Tensor, int]:
        return self._logits(0), 0

    def step(self, ids_t: Tensor, state: int) -> tuple[Tensor, int]:
        return self._logits(state + 1), state + 1

    def _logits(self, n: int) -> Tensor:
        logits = torch.full((1, 30), -20.0)
        n = min(n, len(self.liked) - 1)  # where the last is the end of the text
        logits[0, self.others[n]] = -1.0
        logits[0, self.liked[n]] = 0.0
        return logits


@pytest.mark.parametrize("beam_size", [1, 3])
@pytest.mark.parametrize(("penalty", "expected"), [(0.0, 25), (2.0, 14)])
def test_a_text_leaves_a_passage_only_for_more_than_the_penalty(
    penalty: float, expected: int, beam_size: int
) -> None:
    decoder = Preferring([10, 11, 12, 13, 25, EOS_ID], [10, 11, 12, 13, 14, EOS_ID])
    rules = WritingRules(
        FreeEnding(), 10, new_passage=lambda: Passage(SOURCE, BEGINS), departure_penalty=penalty
    )
    config = WritingConfig(beam_size=beam_size)
    assert list(iterate_tokens(decoder, torch.zeros(1, 1), config, rules)) == [
        *(10, 11, 12, 13),
        expected,
    ]


def test_a_trigram_may_come_back_in_another_passage() -> None:
    liked = [10, 11, 12, 13, 14, 20, 21, 11, 12, 13, 22, EOS_ID]
    decoder = Preferring(liked, [27] * 12)
    rules = WritingRules(FreeEnding(), 20, TrigramBlock)
    blocked = list(iterate_tokens(decoder, torch.zeros(1, 1), WritingConfig(), rules))
    assert blocked != liked[:-1]
    rules = WritingRules(FreeEnding(), 20, TrigramBlock, lambda: Passage(SOURCE, BEGINS), 1.0)
    free = list(iterate_tokens(decoder, torch.zeros(1, 1), WritingConfig(), rules))
    assert free == liked[:-1]
    beam = iterate_beam(decoder, torch.zeros(1, 1), WritingConfig(beam_size=2), rules)
    assert list(beam) == liked[:-1]


def test_a_writer_stays_in_its_passages(
    tiny_writer: Path, paper_text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[bool] = []

    def watched(*arguments: Any) -> Generator[int, None, bool]:
        tokens = iterate_tokens(*arguments)
        passage = arguments[-1].new_passage()
        while True:
            try:
                token = next(tokens)
            except StopIteration as end:
                return end.value
            following = passage.following
            left.append(following is not None and token not in following)
            passage.add(token)
            yield token

    monkeypatch.setattr("terraformer.writer.iterate_tokens", watched)
    monkeypatch.setattr("terraformer.passage._MIN_RUN", 1)  # untrained, it copies little in a row
    summarizer = Summarizer.load(tiny_writer)
    assert isinstance(summarizer.model, EncoderDecoder)
    writing = replace(summarizer.model.config.writing, block_trigrams=False)
    file = tmp_path / "paper.md"
    file.write_text(paper_text, encoding="utf-8")
    document = read_document(file)
    for penalty in (1e-6, 1e4):
        left.clear()
        options = SummaryOptions(writing=replace(writing, departure_penalty=penalty))
        summarizer.summarize(document, options)
        assert len(left) > 50
        assert any(left) == (penalty < 1)
