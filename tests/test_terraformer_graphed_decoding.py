from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
from static_case import CONFIGS, new_model, random_ids

from terraformer.decoding_layers import UncoveredError
from terraformer.graphed_decoding import GraphedDecoder, graphed_or_plain, uncaptured
from terraformer.static_decoding import StaticDecoder
from terraformer.writing_config import WritingConfig

needs_cuda = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="a step is captured on a CUDA device, there is none"
)


def test_without_a_gpu_it_says_so() -> None:
    with pytest.raises(UncoveredError, match="captured on cuda, the model is on cpu"):
        GraphedDecoder(new_model("dense"))


def test_where_there_can_be_none_the_model_decodes(caplog: pytest.LogCaptureFixture) -> None:
    model = new_model("dense").to("meta")
    with caplog.at_level(logging.WARNING):
        assert graphed_or_plain(model) is model
        assert graphed_or_plain(model) is model
    assert [record.getMessage() for record in caplog.records] == [
        "decoding goes on without a captured step, slower: a step is captured on cuda, the model "
        "is on meta"
    ]


def test_experts_are_captured_with_their_kernel_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = torch.device("cuda")
    for kernels, expected in ((["triton", "reference"], None), (["reference"], "experts ask the")):
        monkeypatch.setattr("terraformer.graphed_decoding.backends", lambda *_, k=kernels: k)
        assert uncaptured(new_model("dense"), gpu) is None
        reason = uncaptured(new_model("switch"), gpu)
        assert (reason is None) if expected is None else (expected in str(reason))


@needs_cuda
@pytest.mark.parametrize("name", CONFIGS)
def test_a_captured_step_is_the_same_step(name: str) -> None:
    model: Any = new_model(name).cuda()
    decoders = StaticDecoder(model, n_ahead=1), GraphedDecoder(model, n_ahead=1)
    for length in (13, 5):
        source = random_ids(1, length).cuda()
        states = [decoder.begin(source)[1] for decoder in decoders]
        for token in random_ids(1, 60, seed=length)[0]:
            expected, logits = (
                decoder.step(token[None], state)[0]
                for decoder, state in zip(decoders, states, strict=True)
            )
            torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-5)


@needs_cuda
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_tokens_written_by_replays_are_those_of_the_step(temperature: float) -> None:
    model: Any = new_model("sparse").cuda()
    config = WritingConfig(temperature=temperature, top_p=0.9)
    texts = []
    for kind in (StaticDecoder, GraphedDecoder):
        decoder = kind(model, config, n_ahead=1)
        for _ in range(2):
            _, state = decoder.begin(random_ids(1, 6).cuda())
            texts.append(decoder.write(90, state)[0])
    assert all(torch.equal(text, texts[0]) for text in texts)
