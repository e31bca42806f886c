"""Decoding that is compared: the dense decoder, the pairs of models, the rows."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from eval import decode_figure, speed_decode
from eval.decode_figure import FIGURES, PAIRS, Figure, Pair
from eval.dense_decoder import DenseDecoder, dense_variants
from eval.speed import main
from eval.speed_decode import bytes_a_step
from kernels.decoding_step import unavailable
from terraformer.attention_config import (
    ConvolutionalQKVConfig,
    CrossAttentionConfig,
    FullAttentionConfig,
)
from terraformer.build import build_model
from terraformer.config import EncoderDecoderConfig, LanguageModelConfig
from terraformer.encoder_decoder import EncoderDecoder
from terraformer.feed_forward_config import DenseFFConfig, SparseFFConfig
from terraformer.language_model import LanguageModel
from terraformer.position_config import LearnedPositionsConfig
from terraformer.stack_config import StackConfig

_DENSE = StackConfig(2, FullAttentionConfig(4), DenseFFConfig(64), residual="standard")
_SPARSE = StackConfig(
    2,
    FullAttentionConfig(4, qkv=ConvolutionalQKVConfig(4)),
    SparseFFConfig(64, 8, 4),
    residual="standard",
)


def _language_model(stack: StackConfig) -> LanguageModelConfig:
    return LanguageModelConfig(48, 32, stack, dropout=0.0)


def test_dense_decoder_equals_the_model() -> None:
    torch.manual_seed(0)
    model = LanguageModel(_language_model(_DENSE)).eval()
    decoder = DenseDecoder(model, room=8).eval()
    with torch.inference_mode():
        logits, state = model.begin(torch.zeros(1, 0, dtype=torch.int64))
        torch.testing.assert_close(decoder.step(torch.tensor([0]), 0), logits)
        for position, token in enumerate((5, 9, 5, 31), start=1):
            logits, state = model.step(torch.tensor([token]), state)
            torch.testing.assert_close(decoder.step(torch.tensor([token]), position), logits)


def test_dense_decoder_attends_to_an_encoder() -> None:
    torch.manual_seed(0)
    decoder = replace(_DENSE, cross_attention=CrossAttentionConfig(4))
    config = EncoderDecoderConfig(48, 32, encoder=_DENSE, decoder=decoder, dropout=0.0)
    model = EncoderDecoder(config).eval()
    with torch.inference_mode():
        logits, state = model.begin(torch.randint(48, (1, 7)))
        dense = DenseDecoder(model, 4, [(c.k, c.v) for c in state.layers.cross]).eval()
        torch.testing.assert_close(dense.step(torch.tensor([0]), 0), logits)
        logits, state = model.step(torch.tensor([3]), state)
        torch.testing.assert_close(dense.step(torch.tensor([3]), 1), logits)


def test_dense_decoder_takes_dense_models_only() -> None:
    with pytest.raises(ValueError, match="must be dense"):
        DenseDecoder(LanguageModel(_language_model(_SPARSE)), room=4)
    positions = replace(_language_model(_DENSE), positions=LearnedPositionsConfig(max_len=8))
    with pytest.raises(ValueError, match="no positions"):
        DenseDecoder(LanguageModel(positions), room=4)


def test_int8_is_near_float32() -> None:
    torch.manual_seed(0)
    decoder = DenseDecoder(LanguageModel(_language_model(_DENSE)), room=4).eval()
    variants = dense_variants(decoder, int8=True)
    assert list(variants) == ["eager"]
    with torch.inference_mode():
        exact = decoder.step(torch.tensor([3]), 0)
        rounded = variants["eager"](torch.tensor([3]), 0)
    assert not torch.equal(rounded, exact)
    assert (rounded - exact).norm() < 0.05 * exact.norm()


@pytest.mark.parametrize("name", PAIRS)
def test_pairs_have_as_many_parameters(name: str) -> None:
    with torch.device("meta"):
        sizes = [
            sum(p.numel() for p in build_model(config).parameters())
            for config in (PAIRS[name].sparse, PAIRS[name].dense)
        ]
    assert sizes[0] > 0.99 * sizes[1]
    assert sizes[0] < (1.07 if name == "800m" else 1.01) * sizes[1]


def test_bytes_are_those_of_one_unit_a_block() -> None:
    model = LanguageModel(_language_model(_SPARSE))
    read = bytes_a_step(model, Figure("tiny", context=5))
    blocks = list(model.decoder.parameters())
    units_not_read = 2 * 2 * (64 - 8) * 32  # layers, weights, units, width
    rest = sum(p.numel() for part in (model.norm, model.head) for p in part.parameters())
    caches = 2 * 2 * 32 * 5
    assert read == 4 * (sum(p.numel() for p in blocks) - units_not_read + rest + caches)


@pytest.mark.skipif(unavailable() is not None, reason="the decoding step in C++ is not built")
def test_rows_of_decoding(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(PAIRS, "tiny", Pair(_language_model(_SPARSE), _language_model(_DENSE)))
    monkeypatch.setitem(FIGURES, "decode-tiny", Figure("tiny", 40, int8=True))
    monkeypatch.setitem(FIGURES, "decode-tiny-selected", Figure("tiny", 90, True, int8=True))
    monkeypatch.setattr(speed_decode, "measure_bandwidth", lambda: 1e9)
    report = tmp_path / "decode.json"
    names = ["decode-tiny", "decode-tiny-selected"]
    assert (
        main(["decode", "--figures", ",".join(names), "--repeats", "2", "--report", str(report)])
        == 0
    )
    rows = json.loads(report.read_text())["rows"]
    assert [row["name"] for row in rows] == names
    assert [row["cache"] for row in rows] == ["full", "selected"]
    for row in rows:
        assert row["ratio"] == pytest.approx(row["baseline_ms"] / row["ours_ms"], rel=0.05)
        assert row["bandwidth_share"] > 0
        assert row["copies"] > 1


def test_figures_name_their_pairs() -> None:
    assert {figure.pair for figure in FIGURES.values()} == set(PAIRS)
    assert decode_figure.N_SOURCE > 0
