from __future__ import annotations

from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset, concatenate_datasets, load_dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune.window import TokenWindows
from terraformer.tokenizer import EOS_ID


def table(lengths: list[int]) -> tuple[Dataset, list[list[int]]]:
    starts = np.cumsum([3, *lengths])
    documents = [list(range(starts[i], starts[i] + n)) for i, n in enumerate(lengths)]
    return Dataset.from_dict({"ids": documents}), documents


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 40), min_size=1, max_size=8), st.integers(3, 12), st.booleans())
def test_all_of_every_document_is_seen_in_turn(
    lengths: list[int], max_len: int, with_end: bool
) -> None:
    rows, documents = table(lengths)
    windows = TokenWindows(rows, max_len, with_end=with_end)
    seen = [windows[i].tolist() for i in range(len(windows))]
    expected = [ids + [EOS_ID] * with_end for ids in documents if len(ids) > 1]
    assert list(chain(*seen)) == list(chain(*expected))
    assert all(seen)
    assert len(seen) == sum(-(-len(ids) // max_len) for ids in expected)
    assert all(len(window) <= max_len for window in seen)
    for ids in expected:  # no window spans two documents, and those of one are about as long
        lengths_here = [len(window) for window in seen if set(window) & set(ids) - {EOS_ID}]
        assert sum(lengths_here) == len(ids)
        assert max(lengths_here) - min(lengths_here) <= 1


def test_tables_of_several_chunks_on_disk_read_the_same(tmp_path: Path) -> None:
    parts = [table([5, 9])[0], table([2, 30])[0], table([7])[0]]
    for i, part in enumerate(parts):
        part.to_parquet(tmp_path / f"{i}.parquet")
    whole = concatenate_datasets(parts)
    stored = load_dataset("parquet", data_files=str(tmp_path / "*.parquet"), split="train")
    windows = [TokenWindows(rows, 6, with_end=True) for rows in (whole, stored)]
    assert len(windows[0]) == len(windows[1]) == 1 + 2 + 1 + 6 + 2
    for mine, other in zip(*windows, strict=True):
        np.testing.assert_array_equal(mine, other)
        assert mine.dtype == np.int64


def test_a_limit_takes_windows_from_beginning_to_end() -> None:
    rows, _ = table([10] * 10)
    every = TokenWindows(rows, 5, with_end=False)
    some = TokenWindows(rows, 5, with_end=False, limit=4)
    assert (len(every), len(some)) == (20, 4)
    np.testing.assert_array_equal(some[0], every[0])
    np.testing.assert_array_equal(some[3], every[19])
    assert len(TokenWindows(rows, 5, with_end=False, limit=40)) == 20


def test_nothing_can_be_predicted_in_a_window_of_one() -> None:
    with pytest.raises(ValueError, match=r"max_len \(2\)"):
        TokenWindows(table([3])[0], 2, with_end=False)
    assert len(TokenWindows(table([0, 1])[0], 4, with_end=True)) == 0
