from __future__ import annotations

import json
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.shards import (
    MANIFEST_FILE,
    Manifest,
    Ragged,
    Shard,
    narrow,
    pack_text,
    read_arrays,
    sha256,
    unpack_text,
    write_arrays,
)
from terraformer.errors import DataError

SHARD = Shard("articles-train-001.npz", "articles", "train", 1, 7, 900, 4000, "ab")
MANIFEST = Manifest(400, "cd", 78, (SHARD, replace(SHARD, file="first", number=0)))


@pytest.mark.parametrize("compress", [True, False])
def test_arrays_come_back_as_they_were(compress: bool, tmp_path: Path) -> None:
    arrays = {
        "ids": np.arange(5000, dtype=np.uint16) % 7,
        "features": np.arange(12, dtype=np.int8).reshape(3, 4).T,
        "empty": np.zeros(0, np.float16),
    }
    path = tmp_path / "x.npz"
    write_arrays(path, arrays, compress=compress)
    found = read_arrays(path)
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)
    assert (path.stat().st_size < 2000) is compress


def test_a_file_that_is_no_shard_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    path.write_bytes(b"no zip at all")
    with pytest.raises(DataError, match=r"x\.npz is no token shard"):
        read_arrays(path)


@given(st.lists(st.lists(st.integers(0, 70000), max_size=5), min_size=1, max_size=8))
def test_ragged_rows_of_several_shards_are_the_rows(rows: list[list[int]]) -> None:
    parts = [rows[:3], rows[3:]]
    ragged = Ragged.joined(
        [narrow(np.array(list(chain(*part)), np.int64)) for part in parts],
        [narrow(np.array([len(row) for row in part], np.int64)) for part in parts],
    )
    assert [row.tolist() for row in map(ragged.__getitem__, range(len(ragged)))] == rows
    assert ragged.lengths.tolist() == [len(row) for row in rows]


@pytest.mark.parametrize(
    ("most", "dtype"), [(255, "u1"), (256, "u2"), (65535, "u2"), (65536, "u4")]
)
def test_numbers_take_the_least_bytes(most: int, dtype: str) -> None:
    narrowed = narrow(np.array([0, most]))
    assert narrowed.dtype == np.dtype(dtype)
    assert narrowed.tolist() == [0, most]


def test_texts_come_back() -> None:
    texts = ["10.1/x", "", "Größe"]
    assert unpack_text(pack_text(texts)) == texts


def test_a_manifest_comes_back_and_finds_its_shards_in_order(tmp_path: Path) -> None:
    MANIFEST.write(tmp_path)
    found = Manifest.read(tmp_path)
    assert found == MANIFEST
    assert [shard.number for shard in found.of("articles", "train")] == [0, 1]
    assert found.of("extract", "train") == found.of("articles", "validation") == []


def test_a_manifest_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="make shards with"):
        Manifest.read(tmp_path)
    MANIFEST.write(tmp_path)
    path = tmp_path / MANIFEST_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | {"version": 99}))
    with pytest.raises(DataError, match="is of version 99"):
        Manifest.read(tmp_path)


def test_a_digest_tells_files_apart(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"abc")
    assert sha256(path).startswith("ba7816bf")
