from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import Dataset
from packed_papers import paper

from finetune import rewrite
from finetune.prepare import prepare_missing
from finetune.rewrite import REWRITE_COLUMNS, to_rewrite
from finetune.rewrite_pair import MAX_EXTRACTED, Rewrites
from finetune.task import TASKS
from finetune.training_data import DataOptions
from terraformer.checkpoint import load_checkpoint
from terraformer.config import EncoderDecoderConfig, model_config_from_dict
from terraformer.errors import DataError
from terraformer.extractor import Extractor
from terraformer.tokenizer import EOS_ID, Tokenizer


@pytest.fixture(autouse=True)
def _tiny_extractor(tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    extractor = Extractor(*load_checkpoint(tiny_checkpoint))
    monkeypatch.setattr(rewrite, "_extractor", lambda: extractor)


@pytest.fixture(scope="module")
def tokenizer(tiny_checkpoint: Path) -> Tokenizer:
    return Tokenizer(tiny_checkpoint / "tokenizer.model")


def article() -> dict[str, Any]:
    """Five sentences of three tokens, each token its sentence's number plus ten; a title."""
    owners = np.repeat(np.arange(-1, 5), 3).astype(np.int32)
    return {
        "ids": owners + 10,
        "sentence_of_token": owners,
        "abstract_ids": np.array([4, 5], np.int32),
        "ranking": np.array([3, 0, 2, 1]),
        "oracle": np.array([4, 0]),
        "index": 7,
    }


def sentences_of(source: np.ndarray) -> list[int]:
    assert source[-1] == EOS_ID
    return sorted({int(token) - 10 for token in source[:-1]})


@pytest.mark.parametrize(("n_tokens", "picked"), [(2, [3]), (3, [3]), (8, [0, 3]), (9, [0, 2, 3])])
def test_the_source_is_the_sentences_ranked_first_in_reading_order(
    n_tokens: int, picked: list[int]
) -> None:
    pair = Rewrites(n_tokens, seed=0, oracle_share=0.0)(article())
    assert sentences_of(pair.source_ids) == picked
    assert list(pair.source_ids) == [*sorted(pair.source_ids[:-1]), EOS_ID]
    assert len(pair.source_ids) <= n_tokens + 1
    assert pair.target_ids.tolist() == [4, 5, EOS_ID]


def test_sentences_of_the_oracle_come_first_as_often_as_is_wanted() -> None:
    row = article()
    always = Rewrites(9, seed=0, oracle_share=1.0)(row)
    assert sentences_of(always.source_ids) == [0, 3, 4]
    rewrites, drawn = Rewrites(9, seed=0), []
    for epoch in range(200):
        rewrites.set_epoch(epoch)
        drawn.append(4 in sentences_of(rewrites(row).source_ids))
    assert 70 < sum(drawn) < 130
    del row["oracle"]
    assert sentences_of(Rewrites(9, seed=0, oracle_share=1.0)(row).source_ids) == [0, 2, 3]


def test_more_than_is_ranked_cannot_be_asked_for() -> None:
    with pytest.raises(ValueError, match="n_tokens"):
        Rewrites(MAX_EXTRACTED + 1, seed=0)


def test_papers_are_prepared_and_loaded(
    tmp_path: Path, tiny_checkpoint: Path, tiny_writer: Path, tokenizer: Tokenizer
) -> None:
    prepared = to_rewrite(paper(3), tokenizer)
    assert set(prepared) == set(REWRITE_COLUMNS)
    assert len(prepared["ranking"]) > 1
    assert len(prepared["oracle"]) == 1
    empty = paper(3) | {"sections": [{"heading": "", "text": ""}]}
    assert to_rewrite(empty, tokenizer)["ranking"] == []

    for split in ("train", "validation"):
        Dataset.from_list([paper(i) for i in range(4)]).to_parquet(tmp_path / f"{split}.parquet")
    tokenizer_path = tiny_checkpoint / "tokenizer.model"
    options = DataOptions(examples=tmp_path / "examples")
    task = TASKS["rewrite"](options)
    prepare_missing(task.folder, tokenizer_path, str(tmp_path), n_processes=1, form=task.form)
    values = json.loads((tiny_writer / "config.json").read_text())
    config = model_config_from_dict(values)
    assert isinstance(config, EncoderDecoderConfig)
    with pytest.raises(DataError, match=r"set writing\.n_extracted"):
        task.load(config)
    values["writing"]["n_extracted"] = 60
    train, validation, collate, draws = task.load(model_config_from_dict(values))
    assert isinstance(draws, Rewrites)
    assert len(train) == len(validation) == 4
    batch = collate([validation[0], train[3]])
    assert batch["source_mask"].sum(dim=1).max() <= 61
    assert batch["target_mask"].any(dim=1).all()
