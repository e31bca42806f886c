from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from terraformer.bucket_table import NOTHING, BucketTable, TableSizes, random_directions

SIZES = TableSizes(n_hashes=3, n_buckets=8, n_per_bucket=4, n_probes=2, seed=0)


def entries(table: BucketTable) -> list[set[tuple[int, float]]]:
    """What each bucket lists, whatever the order: positions, and how far their keys reach."""
    return [
        {(int(p), round(float(r), 4)) for p, r in zip(places, reaches, strict=True) if p >= 0}
        for places, reaches in zip(
            table.positions.flatten(0, 3), table.reaches.flatten(0, 3), strict=True
        )
    ]


@pytest.mark.parametrize("n_first", [0, 1, 30, 100])
def test_positions_listed_one_by_one_are_those_listed_at_once(n_first: int) -> None:
    keys = torch.randn(2, 3, 100, 16)
    table = BucketTable(keys[:, :, :n_first], 7, SIZES)
    for i in range(n_first, 100):
        table.insert(keys[:, :, i : i + 1], 7 + i)
    assert entries(table) == entries(BucketTable(keys, 7, SIZES))


def test_a_bucket_keeps_the_keys_that_reach_farthest_its_way() -> None:
    keys = torch.randn(1, 1, 200, 16)
    table = BucketTable(keys, 0, SIZES)
    directions = random_directions(SIZES, 16)
    met = torch.einsum("bhmk,krw->rmw", keys, directions)
    reach, bucket = torch.cat([met, -met], dim=-1).max(dim=-1)  # [R, M]
    for r in range(SIZES.n_hashes):
        for n in range(SIZES.n_buckets):
            inside = (bucket[r] == n).nonzero()[:, 0]
            best = inside[reach[r, inside].topk(min(4, len(inside))).indices]
            listed = table.positions[0, 0, r, n]
            assert set(listed[listed >= 0].tolist()) == set(best.tolist())


def test_a_query_finds_the_key_that_is_like_it() -> None:
    keys = torch.nn.functional.normalize(torch.randn(1, 2, 60, 32), dim=-1)
    table = BucketTable(keys, 0, replace(SIZES, n_buckets=64, n_per_bucket=60))
    for i in range(60):
        found = table.find(keys[:, :, i : i + 1])
        assert ((found == i).sum(dim=-1) == SIZES.n_hashes).all()


def test_what_is_found_is_bounded_and_empty_places_say_so() -> None:
    table = BucketTable(torch.randn(1, 2, 3, 16), 0, SIZES)
    found = table.find(torch.randn(1, 2, 1, 16))
    assert found.shape == (1, 2, 3 * 2 * 4)
    assert set(found.unique().tolist()) <= {NOTHING, 0, 1, 2}
    assert (found == NOTHING).any()


def test_directions_hang_on_the_seed_alone(assert_near: Callable[..., None]) -> None:
    directions = random_directions(SIZES, 16)
    torch.randn(3)
    assert torch.equal(directions, random_directions(replace(SIZES), 16))
    assert not torch.equal(directions, random_directions(replace(SIZES, seed=1), 16))
    assert_near(directions.norm(dim=0), torch.ones(3, 4))
