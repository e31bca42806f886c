from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from terraformer.selected_cache import SelectedCache, SelectedCacheConfig
from terraformer.softmax_attention import last_own_key, softmax_attention, unit_keys

SMALL = SelectedCacheConfig(
    n_first=2, n_recent=6, n_hashes=3, n_buckets=8, n_per_bucket=3, n_probes=2
)
WINDOW = replace(SMALL, n_hashes=0, mean_of_rest=False)


def draw(length: int, shares_qk: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values of two texts, three heads."""
    q, k, v = torch.randn(3, 2, 3, length, 16)
    return q, unit_keys(q) if shares_qk else k, v


def full(q: Tensor, k: Tensor, v: Tensor, shares_qk: bool) -> Tensor:
    own = last_own_key(k.shape[2], q.device) if shares_qk else None
    return softmax_attention(q[:, :, -1:], k, v, own=own)


@pytest.mark.parametrize("shares_qk", [False, True])
@pytest.mark.parametrize("config", [SMALL, WINDOW])
def test_where_all_fits_it_is_full_attention(config: SelectedCacheConfig, shares_qk: bool) -> None:
    q, k, v = draw(8, shares_qk)
    cache = SelectedCache(k[:, :, :1], v[:, :, :1], config)
    for t in range(1, 8):
        cache.append(k[:, :, t : t + 1], v[:, :, t : t + 1])
        seen = slice(None, t + 1)
        expected = full(q[:, :, seen], k[:, :, seen], v[:, :, seen], shares_qk)
        assert torch.equal(cache.attend(q[:, :, t : t + 1], shares_qk), expected)


@pytest.mark.parametrize("shares_qk", [False, True])
@pytest.mark.parametrize("mean_of_rest", [False, True])
def test_where_all_is_found_it_is_full_attention(
    mean_of_rest: bool, shares_qk: bool, assert_near: Callable[..., None]
) -> None:
    config = SelectedCacheConfig(2, 6, 60, 2, 60, 1, mean_of_rest=mean_of_rest)
    q, k, v = draw(60, shares_qk)
    cache = SelectedCache(k, v, config)
    assert_near(cache.attend(q[:, :, -1:], shares_qk), full(q, k, v, shares_qk))


@pytest.mark.parametrize("shares_qk", [False, True])
def test_without_hashes_it_is_a_window_behind_the_first_positions(
    shares_qk: bool, assert_near: Callable[..., None]
) -> None:
    q, k, v = draw(40, shares_qk)
    cache = SelectedCache(k[:, :, :5], v[:, :, :5], WINDOW)
    for t in range(5, 40):
        cache.append(k[:, :, t : t + 1], v[:, :, t : t + 1])
        near = [*range(min(2, t)), *range(max(2, t - 5), t + 1)]
        expected = full(q[:, :, : t + 1], k[:, :, near], v[:, :, near], shares_qk)
        assert_near(cache.attend(q[:, :, t : t + 1], shares_qk), expected)


@pytest.mark.parametrize("n_hashes", [0, 3])
def test_the_mean_of_the_rest_is_exact_where_scores_or_values_are_all_the_same(
    n_hashes: int, assert_near: Callable[..., None]
) -> None:
    config = replace(SMALL, n_hashes=n_hashes)
    q, k, v = draw(50)
    same_keys = torch.cat([k[:, :, :2], k[:, :, 2:3].expand(-1, -1, 48, -1)], dim=2)
    assert_near(
        SelectedCache(same_keys, v, config).attend(q[:, :, -1:]), full(q, same_keys, v, False)
    )
    same_values = v[:, :, :1].expand(-1, -1, 50, -1)
    assert_near(SelectedCache(k, same_values, config).attend(q[:, :, -1:]), v[:, :, :1])


@pytest.mark.parametrize("n_prefilled", [1, 7, 8, 9, 30, 60])
def test_it_is_the_same_however_its_positions_came(
    n_prefilled: int, assert_near: Callable[..., None]
) -> None:
    q, k, v = draw(60)
    k = k + 3.0  # a centre that matters
    cache = SelectedCache(k[:, :, :n_prefilled], v[:, :, :n_prefilled], SMALL)
    for t in range(n_prefilled, 60):
        cache.append(k[:, :, t : t + 1], v[:, :, t : t + 1])
    at_once = SelectedCache(k, v, SMALL)
    assert cache.length == at_once.length == 60
    assert_near(cache.attend(q[:, :, -1:]), at_once.attend(q[:, :, -1:]))
    assert_near(cache.key_sum, k[:, :, 2:54].sum(dim=2, keepdim=True))


def test_no_more_than_promised_is_read_and_nothing_twice() -> None:
    """Gives each position a value of its own and looks how much of each the output holds."""
    config = replace(SMALL, mean_of_rest=False)
    q, k, _ = draw(200)
    values = torch.eye(200).expand(2, 3, -1, -1)
    out = SelectedCache(k, values, config).attend(q[:, :, -1:])[:, :, 0]  # [B, H, L]
    read = out > 0
    assert (read.sum(dim=-1) <= config.n_read).all()
    assert (read.sum(dim=-1) > config.n_first + config.n_recent).all()
    scores = (q[:, :, -1:] @ k.mT)[:, :, 0] / 4
    expected = scores.masked_fill(~read, -torch.inf).softmax(dim=-1)
    torch.testing.assert_close(out, expected)


def test_selected_positions_matter_more_than_as_many_latest_ones() -> None:
    q, k, v = draw(500)
    errors = {}
    more = SMALL.n_read - SMALL.n_first
    for config in (SMALL, replace(SMALL, n_hashes=0, n_recent=more)):
        missed = SelectedCache(k, v, config).attend(3 * q[:, :, -1:]) - full(3 * q, k, v, False)
        errors[config.n_hashes] = missed.square().mean()
    assert errors[3] < 0.8 * errors[0]


def test_a_memory_has_no_recent_positions(assert_near: Callable[..., None]) -> None:
    q, k, v = draw(60)
    config = replace(SMALL, n_hashes=0)
    cache = SelectedCache(k, v, config, n_recent=0)
    assert cache.n_middle == 58
    scores = (q[:, :, -1:] @ k.mT) / 4  # [B, H, 1, L]
    mean = scores[..., 2:].mean(dim=-1, keepdim=True) + torch.tensor(58.0).log()
    weights = torch.cat([scores[..., :2], mean], dim=-1).softmax(dim=-1)
    values = torch.cat([v[:, :, :2], v[:, :, 2:].mean(dim=2, keepdim=True)], dim=2)
    assert_near(cache.attend(q[:, :, -1:]), weights @ values)


def test_half_precision_is_computed_in_float32() -> None:
    q, k, v = (item.bfloat16() for item in draw(60))
    out = SelectedCache(k, v, SMALL).attend(q[:, :, -1:])
    assert out.dtype == torch.bfloat16
    exact = SelectedCache(k.float(), v.float(), SMALL).attend(q[:, :, -1:].float())
    torch.testing.assert_close(out, exact.bfloat16())


def test_a_lone_last_position_sees_itself() -> None:
    q, k, v = draw(30, shares_qk=True)
    config = SelectedCacheConfig(n_first=0, n_recent=1, n_hashes=0, mean_of_rest=False)
    out = SelectedCache(k, v, config).attend(q[:, :, -1:], shares_qk=True)
    torch.testing.assert_close(out, v[:, :, -1:])


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("n_recent", 0, r"n_recent \(0\) must be at least 1"),
        ("n_first", -1, r"n_first \(-1\) must be at least 0"),
        ("n_buckets", 7, r"n_buckets \(7\) must be even"),
        ("n_probes", 5, r"n_probes \(5\) must be at most half of n_buckets \(8\)"),
    ],
)
def test_sizes_that_cannot_be(field: str, value: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **{field: value})


def test_neither_texts_nor_heads_mix(assert_near: Callable[..., None]) -> None:
    q, k, v = draw(80)
    out = SelectedCache(k, v, SMALL).attend(q[:, :, -1:])
    one = SelectedCache(k[1:, 2:], v[1:, 2:], SMALL).attend(q[1:, 2:, -1:])
    assert_near(out[1:, 2:], one)
    assert F.mse_loss(out[0], out[1]) > 0
