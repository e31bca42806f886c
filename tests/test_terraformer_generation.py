from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from terraformer.attention_config import CrossAttentionConfig, FullAttentionConfig
from terraformer.beam_search import BeamText, iterate_beam
from terraformer.config import EncoderDecoderConfig
from terraformer.encoder_decoder import EncoderDecoder
from terraformer.fast_decoding import fast_or_plain
from terraformer.feed_forward_config import DenseFFConfig
from terraformer.generation import FreeEnding, TokenChoice, WritingRules, iterate_tokens
from terraformer.repetition import TrigramBlock
from terraformer.stack_config import CopyConfig, StackConfig
from terraformer.tokenizer import EOS_ID
from terraformer.writing_config import WritingConfig

ENCODER = StackConfig(1, FullAttentionConfig(2, rotary=True), DenseFFConfig(16))
CROSS = EncoderDecoderConfig(
    vocab_size=5,
    d_model=8,
    encoder=ENCODER,
    decoder=replace(ENCODER, cross_attention=CrossAttentionConfig(n_heads=2), residual="standard"),
    copy=CopyConfig(d_key=4, run_len=1),
)
MODELS = {"cross": CROSS, "joined": replace(CROSS, decoder=ENCODER)}
SOURCE = torch.tensor([[2, 3, 4, 3]])


def new_model(name: str, vocab_size: int = 5) -> EncoderDecoder:
    model = EncoderDecoder(replace(MODELS[name], vocab_size=vocab_size)).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # sharp enough that texts differ
            parameter.mul_(1.5)
    return model


def free(max_tokens: int, *, block: bool = False, min_tokens: int = 0) -> WritingRules:
    return WritingRules(FreeEnding(min_tokens), max_tokens, TrigramBlock if block else None)


def written(decoder: Any, config: WritingConfig, rules: WritingRules) -> list[int]:
    return list(iterate_tokens(decoder, SOURCE, config, rules))


def scores_of_all(model: EncoderDecoder, n_most: int, alpha: float) -> dict[tuple[int, ...], float]:
    """Score of every text of at most `n_most` tokens that ends, by the forward pass."""
    scores = {}
    words = [token for token in range(5) if token not in (0, EOS_ID)]
    for n in range(n_most + 1):
        for ids in itertools.product(words, repeat=n):
            target = torch.tensor([[*ids, EOS_ID]])
            logs = model.logits(SOURCE, target).log_softmax(dim=-1)
            total = logs.gather(2, target[..., None]).sum().item()
            scores[ids] = total / ((5 + n + 1) / 6) ** alpha
    return scores


def search_beam(*arguments: Any) -> BeamText:
    """The text that a beam ends with, which is what was yielded."""
    found: list[BeamText] = []

    def tokens() -> Iterator[int]:
        found.append((yield from iterate_beam(*arguments)))

    ids = list(tokens())
    assert ids == found[0].ids
    return found[0]


@pytest.mark.parametrize("alpha", [0.0, 0.6, 2.0])
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("fast", [True, False], ids=["fast", "plain"])
def test_a_wide_beam_finds_the_best_of_all_texts(name: str, alpha: float, fast: bool) -> None:
    for seed in range(3):
        torch.manual_seed(seed)
        model = new_model(name)
        with torch.no_grad():
            scores = scores_of_all(model, 3, alpha)
        decoder = fast_or_plain(model) if fast else model
        config = WritingConfig(beam_size=60, length_penalty=alpha)
        found = search_beam(decoder, SOURCE, config, free(3))
        best = max(scores, key=lambda ids: scores[ids])
        assert tuple(found.ids) == best
        assert found.score == pytest.approx(scores[best], abs=1e-4)
        assert found.finished


def test_a_wider_beam_scores_no_worse_than_the_greedy_text() -> None:
    torch.manual_seed(3)
    model = new_model("cross", 30)
    config = WritingConfig(length_penalty=0.0)
    wide = search_beam(model, SOURCE, replace(config, beam_size=4), free(6))
    narrow = search_beam(model, SOURCE, replace(config, beam_size=1), free(6))
    assert wide.score >= narrow.score


class Scripted:
    """A decoder whose logits depend on the last token alone."""

    def __init__(self, rows: dict[int, dict[int, float]], vocab_size: int = 8) -> None:
        self._rows, self._vocab_size = rows, vocab_size

    def begin(self, source_ids: Tensor) -> tuple[Tensor, list[int]]:
        return self._logits(0), []

    def step(self, ids_t: Tensor, state: list[int]) -> tuple[Tensor, list[int]]:
        state.append(int(ids_t))
        return self._logits(state[-1]), state

    def _logits(self, last: int) -> Tensor:
        logits = torch.full((1, self._vocab_size), -20.0)
        for token, value in self._rows.get(last, {}).items():
            logits[0, token] = value
        return logits


LOOP = Scripted(
    {0: {2: 5.0}, 2: {3: 5.0}, 3: {4: 5.0, 5: 1.0}, 4: {2: 5.0}, 5: {2: 3.0, EOS_ID: 2.0}}
)


def test_a_beam_tells_what_is_certain_before_it_ends() -> None:
    read: list[int] = []

    class Noting(Scripted):
        def step(self, ids_t: Tensor, state: list[int]) -> tuple[Tensor, list[int]]:
            read.append(int(ids_t))
            return super().step(ids_t, state)

    # Each token is less certain than the one before it, so that the beam forks late.
    rows = {0: {2: 60.0}} | {token: {token + 1: 60.0 - 8 * token} for token in range(2, 7)}
    certain = Noting(rows | {7: {EOS_ID: 5.0}})
    tokens = iterate_beam(certain, SOURCE, WritingConfig(beam_size=2), free(6, min_tokens=6))
    assert next(tokens) == 2
    assert len(read) < 6


def test_greedy_text_takes_the_likeliest_token_and_stops_at_the_end() -> None:
    script = Scripted({0: {4: 2.0, 3: 1.0}, 4: {3: 2.0, EOS_ID: 1.0}, 3: {EOS_ID: 2.0, 4: 1.0}})
    assert written(script, WritingConfig(), free(9)) == [4, 3]
    assert written(script, WritingConfig(), free(9, min_tokens=4)) == [4, 3, 4, 3]


def test_a_text_that_meets_the_most_tokens_says_that_it_is_not_finished() -> None:
    def run(n_most: int) -> tuple[list[int], bool]:
        tokens = iterate_tokens(LOOP, SOURCE, WritingConfig(), free(n_most))
        ids: list[int] = []
        while True:
            try:
                ids.append(next(tokens))
            except StopIteration as stop:
                return ids, stop.value

    assert run(7) == ([2, 3, 4, 2, 3, 4, 2], False)
    unfinished = search_beam(LOOP, SOURCE, WritingConfig(beam_size=1), free(3, min_tokens=9))
    assert unfinished.ids == [2, 3, 4]
    assert not unfinished.finished


@pytest.mark.parametrize("beam_size", [1, 3])
def test_loops_are_broken_where_trigrams_are_blocked(beam_size: int) -> None:
    config = WritingConfig(beam_size=beam_size)
    looped = written(LOOP, WritingConfig(), free(20))
    ids = written(LOOP, config, free(20, block=True))
    repeated = [
        len(set(t := list(zip(x, x[1:], x[2:], strict=False)))) < len(t) for x in (looped, ids)
    ]
    assert repeated == [True, False]
    assert written(LOOP, WritingConfig(), free(20, block=True))[:6] == [2, 3, 4, 2, 3, 5]


def test_where_nothing_may_follow_the_text_ends() -> None:
    class Never(FreeEnding):
        def may_end(self, ids: Sequence[int]) -> bool:
            return False

    script = Scripted({0: {2: 1.0}, 2: {2: 1.0}}, vocab_size=3)
    rules = WritingRules(Never(), 9, TrigramBlock)
    assert written(script, WritingConfig(), rules) == [2, 2, 2]


def test_draws_follow_the_seed_and_the_probabilities() -> None:
    logits = torch.tensor([0.0, 1.0, 2.0, -3.0])

    def draws(**fields: Any) -> list[int]:
        choose = TokenChoice(WritingConfig(**fields))
        return [choose(logits) for _ in range(2000)]

    first = draws(temperature=1.0, seed=5)
    assert first == draws(temperature=1.0, seed=5) != draws(temperature=1.0, seed=6)
    share = torch.tensor(first).bincount(minlength=4) / 2000
    torch.testing.assert_close(share, logits.softmax(dim=-1), atol=0.03, rtol=0.0)
    flat = torch.tensor(draws(temperature=4.0)).bincount(minlength=4) / 2000
    torch.testing.assert_close(flat, (logits / 4).softmax(dim=-1), atol=0.04, rtol=0.0)
    assert draws() == [2] * 2000


@pytest.mark.parametrize(
    ("top_p", "kept"), [(0.5, {2}), (0.7, {2, 1}), (0.93, {2, 1, 0}), (1, {0, 1, 2, 3})]
)
def test_the_nucleus_is_the_least_set_that_reaches_top_p(top_p: float, kept: set[int]) -> None:
    logits = torch.tensor([0.0, 1.0, 2.0, -3.0])  # 0.09, 0.24, 0.66, 0.004
    choose = TokenChoice(WritingConfig(temperature=1.0, top_p=top_p))
    assert {choose(logits) for _ in range(3000)} == kept


@pytest.mark.parametrize("name", MODELS)
def test_the_fast_decoder_writes_what_the_model_writes(name: str) -> None:
    torch.manual_seed(1)
    model = new_model(name, 30)
    decoder = fast_or_plain(model)
    for config in (WritingConfig(), WritingConfig(temperature=1.0), WritingConfig(beam_size=3)):
        rules = free(25, block=True, min_tokens=8)
        ids = written(decoder, config, rules)
        assert ids == written(model, config, rules)
        assert len(ids) >= 8


@pytest.mark.parametrize(
    "fields",
    [{"beam_size": 0}, {"temperature": -1}, {"top_p": 0}, {"beam_size": 2, "temperature": 1.0}],
)
def test_settings_that_make_no_sense(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(fields))):
        WritingConfig(**fields)
