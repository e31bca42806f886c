from __future__ import annotations

from itertools import groupby

import numpy as np
import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from finetune.span_corruption import CorruptedWindows, TokenPair, corrupt, draw_spans
from finetune.window import TokenWindows
from terraformer.tokenizer import EOS_ID

VOCAB_SIZE = 1000


def restore(pair: TokenPair, vocab_size: int) -> list[int]:
    """Puts the spans of the target back in the place of their sentinels in the source."""
    source, target = list(pair.source_ids), list(pair.target_ids)
    assert source.pop() == target.pop() == EOS_ID
    restored: list[int] = []
    sentinel = vocab_size - 1
    for id_ in source:
        if id_ != sentinel:
            restored.append(id_)
            continue
        assert target.pop(0) == sentinel
        sentinel -= 1
        while target and target[0] != sentinel:
            restored.append(target.pop(0))
    assert not target
    return restored


def run_lengths(noise: NDArray[np.bool_], of: bool) -> list[int]:
    return [len(list(run)) for value, run in groupby(noise.tolist()) if value is of]


@settings(max_examples=150, deadline=None)
@given(st.integers(2, 700), st.integers(0, 2**32), st.floats(0.05, 0.9), st.floats(1.0, 6.0))
def test_source_and_target_hold_the_text_and_nothing_else(
    length: int, seed: int, density: float, span: float
) -> None:
    random = np.random.default_rng(seed)
    ids = random.integers(3, VOCAB_SIZE - 400, length)
    noise = draw_spans(length, random, noise_density=density, mean_span_length=span)
    pair = corrupt(ids, noise, VOCAB_SIZE)
    assert restore(pair, VOCAB_SIZE) == ids.tolist()
    n_spans = len(run_lengths(noise, True))
    assert len(pair.source_ids) == length - noise.sum() + n_spans + 1
    assert len(pair.target_ids) == noise.sum() + n_spans + 1
    assert (noise[0], noise[-1]) == (False, True)


def test_the_published_numbers_of_a_full_chunk() -> None:
    noise = draw_spans(512, np.random.default_rng(0))
    assert noise.sum() == 77  # 0.15 of 512
    assert len(run_lengths(noise, True)) == len(run_lengths(noise, False)) == 26
    pair = corrupt(np.full(512, 5), noise, 32000)
    assert (len(pair.source_ids), len(pair.target_ids)) == (462, 104)  # fit in 512 and 256
    sentinels = [id_ for id_ in pair.source_ids if id_ > 5]
    assert sentinels == [id_ for id_ in pair.target_ids if id_ > 5]
    assert sentinels == list(range(31999, 31999 - 26, -1))
    assert pair.target_ids[0] == 31999


def test_spans_fall_evenly_and_their_lengths_as_a_random_partition_gives_them() -> None:
    random = np.random.default_rng(1)
    masks = np.array([draw_spans(512, random) for _ in range(4000)])
    assert (masks.sum(axis=1) == 77).all()
    # Far from the ends, each token is noise as often as the density says (4 standard errors).
    error = 4 * (0.15 * 0.85 / len(masks)) ** 0.5
    np.testing.assert_allclose(masks[:, 100:412].mean(axis=0), 77 / 512, atol=error)
    lengths = np.concatenate([run_lengths(noise, True) for noise in masks])
    assert lengths.mean() == pytest.approx(77 / 26)
    # P(first of 26 parts of 77 is k) = C(76 - k, 24) / C(76, 25): falls like a geometric law.
    share = 1.0 * 25 / 76
    for k in range(1, 6):
        assert (lengths == k).mean() == pytest.approx(share, abs=0.005)
        share *= (77 - k - 25) / (76 - k)


@pytest.mark.parametrize("length", [2, 3, 4, 7])
def test_short_texts_lose_at_least_one_token_and_keep_one(length: int) -> None:
    for seed in range(20):
        for density in (0.01, 0.99):
            noise = draw_spans(length, np.random.default_rng(seed), noise_density=density)
            assert noise.sum() == (1 if density == 0.01 else length - 1)


def test_one_token_is_too_short() -> None:
    with pytest.raises(ValueError, match=r"length \(1\) must be at least 2"):
        draw_spans(1, np.random.default_rng(0))


def test_windows_are_corrupted_anew_every_epoch_and_the_same_for_a_seed() -> None:
    rows = Dataset.from_dict({"ids": [list(range(3, 103)), list(range(200, 260))]})
    windows = TokenWindows(rows, 50, with_end=False)
    first, second = (CorruptedWindows(windows, VOCAB_SIZE, seed=7) for _ in range(2))
    other = CorruptedWindows(windows, VOCAB_SIZE, seed=8)
    assert len(first) == 4
    for index in range(4):
        assert restore(first[index], VOCAB_SIZE) == windows[index].tolist()
        np.testing.assert_array_equal(first[index].source_ids, second[index].source_ids)
    assert any(first[i].source_ids.tolist() != other[i].source_ids.tolist() for i in range(4))
    first.set_epoch(1)
    assert any(first[i].source_ids.tolist() != second[i].source_ids.tolist() for i in range(4))
    second.set_epoch(1)
    np.testing.assert_array_equal(first[3].target_ids, second[3].target_ids)
