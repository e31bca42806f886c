from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset, load_dataset

from finetune import prepare as module
from finetune.data import to_document
from finetune.prepare import COLUMNS, prepare_missing, to_example
from terraformer.errors import DataError
from terraformer.features import N_FEATURES, sentence_features
from terraformer.tokenizer import Tokenizer

ROW = {
    "id": "x:1",
    "origin": "plos",
    "title": "Rivers",
    "abstract": "Dams hold the sediment of all rivers.",
    "sections": [
        {"heading": "Introduction", "text": "Rivers carry sediment to the sea. Short one."},
        {"heading": "Results", "text": "Dams hold the sediment of many rivers."},
    ],
}
EMPTY = ROW | {"id": "x:2", "sections": [{"heading": "Introduction", "text": ""}]}


@pytest.fixture
def tokenizer_path(tiny_checkpoint: Path) -> Path:
    return tiny_checkpoint / "tokenizer.model"


@pytest.fixture
def papers(tmp_path: Path) -> Path:
    folder = tmp_path / "papers"
    folder.mkdir()
    for split in ("train", "validation"):
        Dataset.from_list([ROW, EMPTY, ROW | {"id": "x:3"}]).to_parquet(folder / f"{split}.parquet")
    return folder


def test_an_example_is_the_document_as_numbers(tokenizer_path: Path) -> None:
    tokenizer = Tokenizer(tokenizer_path)
    example = to_example(ROW, tokenizer)
    document = to_document(ROW)
    tokenized = tokenizer.encode_document(document)
    assert set(example) == set(COLUMNS)
    np.testing.assert_array_equal(example["ids"], tokenized.ids)
    np.testing.assert_array_equal(example["sentence_of_token"], tokenized.sentence_of_token)
    features = example["features"].reshape(3, N_FEATURES)
    np.testing.assert_allclose(features, sentence_features(document), atol=2e-3)
    assert example["selectable"].tolist() == [True, False, True]
    assert example["n_words"] == [6, 2, 7]
    assert (example["id"], example["group"], example["reference_words"]) == ("x:1", "pubmed", 7)
    assert example["episodes"][0] == [2]
    assert example["scores"][0] > 0.6


def test_a_split_is_written_whole_and_then_left_alone(
    papers: Path, tokenizer_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "examples" / "new"
    command = ["prepare", str(output), "--tokenizer", str(tokenizer_path), "--data", str(papers)]
    monkeypatch.setattr(
        sys, "argv", [*command, "--splits", "train", "--limit", "2", "--processes", "1"]
    )
    module.main()
    assert [path.name for path in output.iterdir()] == ["train.parquet"]
    rows = load_dataset("parquet", data_files=str(output / "train.parquet"), split="train")
    assert [(row["id"], len(row["episodes"]) > 0) for row in rows] == [
        ("x:1", True),
        ("x:2", False),
    ]
    written = (output / "train.parquet").stat().st_mtime_ns
    prepare_missing(output, tokenizer_path, str(papers), n_processes=1)
    assert (output / "train.parquet").stat().st_mtime_ns == written
    assert (output / "validation.parquet").exists()


def test_no_papers_is_an_error(tokenizer_path: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="named by --data"):
        prepare_missing(tmp_path / "examples", tokenizer_path, str(tmp_path), n_processes=1)


def test_workers_need_no_threads_of_this_process(tokenizer_path: Path, papers: Path) -> None:
    torch.randn(600, 600) @ torch.randn(600, 600)  # on several threads, which a fork leaves behind
    prepare_missing(papers / "out", tokenizer_path, str(papers), n_processes=2, form="rewrite")
    rankings = load_dataset("parquet", data_files=str(papers / "out" / "train.parquet"))["train"]
    assert [len(ranking) > 0 for ranking in rankings["ranking"]] == [True, False, True]
