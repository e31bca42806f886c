from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.batch_plan import BatchPlan


@given(
    st.lists(st.integers(1, 300), min_size=1, max_size=60),
    st.integers(50, 1000),
    st.integers(0, 3),
)
def test_each_example_is_in_one_batch_and_batches_keep_to_their_tokens(
    lengths: list[int], batch_tokens: int, epoch: int
) -> None:
    batches = BatchPlan(np.array(lengths), batch_tokens, seed=0).epoch(epoch)
    assert sorted(item for batch in batches for item in batch.items) == list(range(len(lengths)))
    assert [batch.number for batch in batches] == list(range(len(batches)))
    for batch in batches:
        padded = len(batch.items) * max(lengths[item] for item in batch.items)
        assert padded <= batch_tokens or len(batch.items) == 1


def test_batches_have_little_padding_and_mixed_order() -> None:
    lengths = np.random.default_rng(0).integers(100, 8000, 2000)
    batches = BatchPlan(lengths, 32_000, seed=0).epoch(0)
    padded = sum(len(batch.items) * lengths[list(batch.items)].max() for batch in batches)
    assert padded < 1.1 * lengths.sum()
    longest = [int(lengths[list(batch.items)].max()) for batch in batches]
    assert np.corrcoef(longest[:-1], longest[1:])[0, 1] < 0.3


def test_epochs_differ_and_seeds_repeat() -> None:
    lengths = np.full(50, 10)
    plan = BatchPlan(lengths, 40, seed=1)
    assert plan.epoch(0) == BatchPlan(lengths, 40, seed=1).epoch(0)
    first, other = ([batch.items for batch in each] for each in (plan.epoch(0), plan.epoch(1)))
    assert first != other
    assert first != [batch.items for batch in BatchPlan(lengths, 40, seed=2).epoch(0)]


def test_a_plan_goes_on_where_it_was_left() -> None:
    plan = BatchPlan(np.full(6, 10), 20, seed=0)  # three batches an epoch
    whole = list(islice(plan.after(0, 0), 8))
    assert [(key.epoch, key.number) for key in whole[2:5]] == [(0, 2), (1, 0), (1, 1)]
    assert list(islice(plan.after(1, 1), 4)) == whole[4:8]


def test_nothing_makes_no_batches() -> None:
    with pytest.raises(ValueError, match="n_tokens is empty"):
        BatchPlan(np.zeros(0, np.int64), 10, seed=0)
