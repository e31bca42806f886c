"""Parameter counts of the presets against arithmetic written out here."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import torch

from terraformer.build import build_model
from terraformer.config import model_config_from_dict
from terraformer.preset import preset, preset_names

NORM = 2  # times d_model: scale and bias


def dense(d_in: int, d_out: int) -> int:
    return d_in * d_out + d_out


def dense_ff(d: int, f: int) -> int:
    return NORM * d + dense(d, f) + dense(f, d)


def sparse_ff(d: int, f: int, r: int) -> int:
    controller = d * r + r * f + f
    return NORM * d + controller + d * f + f * d + d  # the first projection has no bias


def switch_ff(d: int, f: int, experts: int) -> int:
    return NORM * d + d * experts + experts * (dense(d, f) + dense(f, d))


def sru(d: int, n: int) -> int:
    return NORM * d + dense(d, n) + dense(n, 3 * n) + dense(n, d)


def dense_attention(d: int, bias: bool = True) -> int:
    return NORM * d + 4 * (dense(d, d) if bias else d * d)


def shared_attention(d: int) -> int:
    return NORM * d + 3 * d * d


def multiplicative(d_in: int, d_out: int, s: int) -> int:
    return s * d_in + d_in * d_out // s + d_out


def convolutional_attention(d: int, s: int) -> int:
    m = d // s
    kernels = 2 * (3 * 3 * m * m + m) + (3 * 1 * m * m + m)  # queries, keys; values
    return NORM * d + multiplicative(d, d, s) + kernels


def scaling_800m_dense() -> int:
    d, f, v = 1024, 4096, 32000
    encoder = 24 * (dense_attention(d) + dense_ff(d, f))
    decoder = 24 * (2 * dense_attention(d) + dense_ff(d, f))
    return v * d + 2 * 512 * d + encoder + decoder + 2 * NORM * d + dense(d, v)


def scaling_800m() -> int:
    d, v = 1024, 32000
    encoder = 24 * (dense_attention(d) + sparse_ff(d, 4096, 64))
    decoder = 24 * (convolutional_attention(d, 16) + dense_attention(d) + sparse_ff(d, 6144, 96))
    ends = v * d + 2 * 512 * d + 2 * NORM * d + multiplicative(d, v, 4)
    return encoder + decoder + ends


def _terraformer(d: int, n: int, f: int, r: int, s: int, units: int, loss: int) -> int:
    """Embedding, blocks, last norm and loss layer; positions come on top."""
    encoder = n * (dense_attention(d) + sparse_ff(d, f, r) + sru(d, units))
    decoder = n * (2 * convolutional_attention(d, s) + sparse_ff(d, f, r) + sru(d, units))
    return 32000 * d + encoder + decoder + NORM * d + multiplicative(d, 32000, loss)


def low_rank_positions(length: int, d: int) -> int:
    return length * 64 + 64 * d


def terraformer_800m_c4() -> int:
    return _terraformer(1024, 24, 6144, 96, 16, 32, 4) + 2 * 32768 * 1024


def terraformer_800m() -> int:
    return _terraformer(1024, 24, 6144, 96, 16, 32, 4) + 2 * low_rank_positions(131072, 1024)


def terraformer_arxiv() -> int:
    d = 1024
    encoder = 24 * (dense_attention(d) + dense_ff(d, 4096))
    decoder = 24 * (2 * dense_attention(d) + dense_ff(d, 4096))
    ends = 32000 * d + NORM * d + dense(d, 32000) + 2 * low_rank_positions(32768, d)
    return encoder + decoder + ends


def terraformer_17b() -> int:
    positions = 2 * low_rank_positions(32768, 9216)
    return _terraformer(9216, 6, 65536, 32, 64, 64, 8) + positions


def reformer_enwik8() -> int:
    d = 1024
    local = 9 * (dense_attention(d, bias=False) + dense_ff(d, 4096))
    hashed = 3 * (shared_attention(d) + dense_ff(d, 4096))
    positions = 128 * 256 + 512 * 768
    return 258 * d + positions + local + hashed + NORM * 2 * d + dense(2 * d, 258)


def switch_base(experts: int) -> int:
    d, f, v = 768, 3072, 32128
    pairs = 6 * (dense_ff(d, f) + switch_ff(d, f, experts))
    encoder = 12 * dense_attention(d) + pairs
    decoder = 24 * dense_attention(d) + pairs
    return v * d + 2 * 512 * d + encoder + decoder + 2 * NORM * d + dense(d, v)


COUNTS: dict[str, Callable[[], int]] = {
    "scaling-800m": scaling_800m,
    "scaling-800m-dense": scaling_800m_dense,
    "terraformer-800m": terraformer_800m,
    "terraformer-800m-c4": terraformer_800m_c4,
    "terraformer-arxiv": terraformer_arxiv,
    "terraformer-17b": terraformer_17b,
    "reformer-enwik8": reformer_enwik8,
} | {
    f"switch-base-{experts}": lambda experts=experts: switch_base(experts)
    for experts in (8, 16, 32, 64, 128, 256)
}


@pytest.mark.parametrize("name", preset_names())
def test_parameters_are_as_many_as_reckoned(name: str) -> None:
    with torch.device("meta"):
        model = build_model(preset(name))
    assert sum(p.numel() for p in model.parameters()) == COUNTS[name]()


@pytest.mark.parametrize(
    ("name", "billions"),
    [
        ("scaling-800m", 0.8),
        ("terraformer-800m", 0.8),
        ("terraformer-17b", 17),
        ("reformer-enwik8", 0.15),
        ("switch-base-8", 0.62),
        ("switch-base-128", 7),
    ],
)
def test_sizes_are_near_their_names(name: str, billions: float) -> None:
    assert COUNTS[name]() / 1e9 == pytest.approx(billions, rel=0.1)


def test_sparse_has_as_many_parameters_as_dense() -> None:
    assert scaling_800m() == pytest.approx(scaling_800m_dense(), rel=0.01)


@pytest.mark.parametrize("name", preset_names())
def test_presets_survive_json(name: str) -> None:
    config = preset(name)
    assert model_config_from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_an_unknown_preset_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"unknown preset 'scaling-8m'; known: reformer-enwik8"):
        preset("scaling-8m")
