from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import torch
from static_case import CONFIGS, new_model, random_ids

from terraformer.decoding_layers import UncoveredError
from terraformer.encoder_decoder import EncoderDecoder
from terraformer.experts import Experts
from terraformer.generation import FreeEnding, WritingRules, iterate_tokens
from terraformer.repetition import TrigramBlock
from terraformer.static_decoding import StaticDecoder
from terraformer.static_step import StaticStep
from terraformer.token_draw import TokenDraw
from terraformer.writing_config import WritingConfig


@pytest.mark.parametrize("name", CONFIGS)
def test_steps_are_those_of_the_model_while_rooms_grow(name: str) -> None:
    model = new_model(name)
    decoder = StaticDecoder(model, n_ahead=1)
    for length in (13, 5, 40):  # another text with the same tensors, then a longer one
        source = random_ids(1, length)
        logits, state = decoder.begin(source)
        expected, own = model.begin(source)
        torch.testing.assert_close(logits, expected, rtol=0, atol=0)
        for token in random_ids(1, 60 if length == 13 else 6, seed=length)[0]:
            logits, state = decoder.step(token[None], state)
            expected, own = model.step(token[None], own)
            torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-5)
        assert state.position == own.position


@pytest.mark.parametrize("name", ["sparse", "cross"])
def test_several_texts_of_one_length(name: str) -> None:
    model = new_model(name)
    decoder = StaticDecoder(model, n_ahead=1)
    source = random_ids(3, 9)
    mask = None
    if isinstance(model, EncoderDecoder):
        mask = torch.arange(9) < torch.tensor([[9], [4], [0]])
    _, state = decoder.begin(source, mask) if mask is not None else decoder.begin(source)
    _, own = model.begin(source, mask) if mask is not None else model.begin(source)
    for tokens in random_ids(70, 3):
        logits, state = decoder.step(tokens, state)
        expected, own = model.step(tokens, own)
        torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["sparse", "hashed", "joined"])
def test_tokens_written_at_once_are_the_likeliest_ones(name: str) -> None:
    model = new_model(name)
    decoder = StaticDecoder(model, n_ahead=4)
    source = random_ids(1, 21)
    _, state = decoder.begin(source)
    written, state = decoder.write(60, state)
    more, state = decoder.write(9, state)
    logits, own = model.begin(source)
    expected = []
    for _ in range(69):
        expected.append(int(logits.argmax()))
        logits, own = model.step(torch.tensor(expected[-1:]), own)
    assert torch.cat([written, more], dim=1).tolist() == [expected]
    assert state.position == own.position


def test_draws_are_the_same_for_a_seed_and_from_the_nucleus() -> None:
    model = new_model("dense")
    texts = {}
    for name, temperature, top_p, seed in (
        ("a", 1.0, 1.0, 1),
        ("b", 1.0, 1.0, 1),
        ("other seed", 1.0, 1.0, 2),
        ("narrow", 1.0, 1e-6, 3),
        ("cold", 1e-4, 0.9, 4),
        ("likeliest", 0.0, 1.0, 5),
    ):
        config = WritingConfig(temperature=temperature, top_p=top_p, seed=seed)
        decoder = StaticDecoder(model, config, n_ahead=1)
        for _ in range(2):  # a text does not depend on the one before
            _, state = decoder.begin(random_ids(1, 6))
            texts[name], _ = decoder.write(60, state)
    assert torch.equal(texts["a"], texts["b"])
    assert not torch.equal(texts["a"], texts["other seed"])
    for name in ("narrow", "cold"):
        assert torch.equal(texts[name], texts["likeliest"])


def test_draws_follow_the_probabilities() -> None:
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log().repeat(4000, 1)
    draw = TokenDraw(WritingConfig(temperature=1.0), torch.device("cpu"))
    shares = draw(logits).bincount(minlength=4) / 4000
    assert shares.tolist() == pytest.approx([0.5, 0.3, 0.15, 0.05], abs=0.03)
    draw = TokenDraw(WritingConfig(temperature=1.0, top_p=0.7), torch.device("cpu"))
    shares = draw(logits).bincount(minlength=4) / 4000
    assert shares.tolist() == pytest.approx([0.625, 0.375, 0, 0], abs=0.03)


def test_what_cannot_be_decoded_is_refused() -> None:
    model = new_model("sparse")
    with pytest.raises(UncoveredError, match="evaluation"):
        StaticDecoder(deepcopy(model).train())
    decoder = StaticDecoder(model)
    with pytest.raises(ValueError, match="no padding"):
        decoder.begin(random_ids(1, 3), torch.ones(1, 3, dtype=torch.bool))
    _, old = decoder.begin(random_ids(1, 3))
    _, state = decoder.begin(random_ids(1, 250))
    for gone in (old, deepcopy(state)):
        with pytest.raises(ValueError, match="not decoded any more"):
            decoder.step(torch.tensor([4]), gone)
    with pytest.raises(ValueError, match="below vocab_size"):
        decoder.step(torch.tensor([52]), state)
    decoder.write(5, state)
    with pytest.raises(ValueError, match=r"257 positions .* \(256\)"):
        decoder.write(1, state)


@pytest.mark.parametrize("name", ["cross", "joined", "dense"])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_texts_that_are_written_by_rules_are_those_of_the_model(
    name: str, temperature: float
) -> None:
    model = new_model(name)
    config = WritingConfig(temperature=temperature, top_p=0.9)
    decoder = StaticDecoder(model, n_ahead=4)
    for length in (21, 9, 40):
        rules = WritingRules(FreeEnding(30), 70, TrigramBlock)
        texts = [
            list(iterate_tokens(each, random_ids(1, length), config, rules))
            for each in (decoder, model)
        ]
        assert texts[0] == texts[1]
        assert len(texts[0]) >= 30


def _without_data(value: Any) -> Any:
    """The same tensors on the device "meta", which has shapes alone."""
    written = io.BytesIO()
    torch.save(value, written)
    written.seek(0)
    return torch.load(written, map_location="meta", weights_only=False)


@pytest.mark.parametrize("name", [name for name in CONFIGS if name != "switch"])
def test_a_step_asks_its_device_nothing_and_leaves_it_never(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What would ask a GPU, or mix its tensors with those of the CPU, has no meaning on "meta"."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())
    model = new_model(name)
    logits, own = _without_data(model.begin(random_ids(1, 13)))
    decoder = StaticDecoder(model.to("meta"), n_ahead=1)
    state = decoder.take_over(own, logits)
    for _ in range(3):
        logits, state = decoder.step(torch.tensor([4], device="meta"), state)
    tokens, _ = decoder.write(2, state)
    assert (logits.device.type, tokens.device.type) == ("meta", "meta")


class FailingOnce(StaticDecoder):
    """A decoder whose first step cannot be made ready."""

    fails = True

    def _runner(self, step: StaticStep) -> Callable[[], None]:
        if self.fails:
            self.fails = False
            raise torch.OutOfMemoryError("no room")
        return super()._runner(step)


def test_after_a_step_that_could_not_be_made_another_is() -> None:
    model = new_model("cross")
    decoder = FailingOnce(model)
    with pytest.raises(torch.OutOfMemoryError):
        decoder.begin(random_ids(1, 6))
    _, state = decoder.begin(random_ids(1, 6))
    _, own = model.begin(random_ids(1, 6))
    logits, _ = decoder.step(torch.tensor([7]), state)
    torch.testing.assert_close(logits, model.step(torch.tensor([7]), own)[0])


def test_experts_of_several_processes_are_refused() -> None:
    model = new_model("switch")
    for module in model.modules():
        if isinstance(module, Experts):
            module.group = object()  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(UncoveredError, match="experts spread over processes"):
        StaticDecoder(model)
