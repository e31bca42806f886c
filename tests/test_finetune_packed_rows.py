from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from finetune.article import to_article
from finetune.gap_sentences import GapSentences
from finetune.objectives import ExtractCollator
from finetune.packed_rows import Articles, Examples, pack_articles, pack_examples
from finetune.prepare import to_example
from finetune.shards import Arrays
from finetune.window import TokenWindows
from terraformer.features import N_FEATURES
from terraformer.tokenizer import Tokenizer

PAPERS = [
    {
        "id": "x:1",
        "origin": "plos",
        "title": "Rivers",
        "abstract": "Dams hold the sediment of all rivers, which deltas then lack for years.",
        "sections": [
            {"heading": "Introduction", "text": "Rivers carry sediment to the sea. Short one."},
            {"heading": "Results", "text": "Dams hold the sediment of many rivers we saw."},
        ],
    },
    {
        "id": "x:2",
        "origin": "pmlr",
        "title": "",
        "abstract": "Deltas sink where the sediment of rivers is held back.",
        "sections": [{"heading": "", "text": "Deltas sink, and nobody knows why they do so."}],
    },
    {"id": "x:3", "origin": "plos", "title": "", "abstract": "None.", "sections": []},
]


@pytest.fixture(scope="module")
def rows(tiny_checkpoint: Path) -> list[dict[str, Any]]:
    tokenizer = Tokenizer(tiny_checkpoint / "tokenizer.model")
    return [to_article(paper, tokenizer) for paper in PAPERS]


@pytest.fixture(scope="module")
def examples(tiny_checkpoint: Path) -> list[dict[str, Any]]:
    tokenizer = Tokenizer(tiny_checkpoint / "tokenizer.model")
    return [to_example(paper, tokenizer) for paper in PAPERS]


def in_two_shards(rows: list[dict[str, Any]]) -> list[Arrays]:
    return [pack_articles(rows[:1]), pack_articles(rows[1:])]


def test_articles_come_back_from_several_shards(rows: list[dict[str, Any]]) -> None:
    articles = Articles(in_two_shards(rows))
    assert len(articles) == 3
    for index, row in enumerate(rows):
        found = articles[index]
        assert (found["id"], found["group"], found["index"]) == (row["id"], row["group"], index)
        for name in ("ids", "sentence_of_token", "abstract_ids"):
            np.testing.assert_array_equal(found[name], row[name])
        best = row["principal"].max(initial=0) or 1
        np.testing.assert_allclose(found["principal"], row["principal"] / best, atol=0.002)
    assert articles.n_tokens.tolist() == [len(row["ids"]) for row in rows]
    assert articles.n_abstract.tolist() == [len(row["abstract_ids"]) for row in rows]
    assert articles.n_sentences.tolist() == [3, 1, 0]


def test_sentences_without_tokens_keep_their_place(rows: list[dict[str, Any]]) -> None:
    owners = np.array([-1, -1, 1, 1, -1, 4], np.int32)
    row = rows[0] | {
        "ids": np.arange(6),
        "sentence_of_token": owners,
        "principal": np.zeros(6, np.float32),
    }
    articles = Articles([pack_articles([row])])
    np.testing.assert_array_equal(articles[0]["sentence_of_token"], owners)
    assert articles.n_sentences.tolist() == [6]


def test_gaps_are_those_of_the_prepared_article(rows: list[dict[str, Any]]) -> None:
    gaps = GapSentences(400, seed=0)
    prepared, packed = (
        gaps(row) for row in (rows[0] | {"index": 0}, Articles([pack_articles(rows)])[0])
    )
    np.testing.assert_array_equal(packed.source_ids, prepared.source_ids)
    np.testing.assert_array_equal(packed.target_ids, prepared.target_ids)


def test_windows_are_read_from_shards(rows: list[dict[str, Any]]) -> None:
    windows = TokenWindows(Articles(in_two_shards(rows)), 10_000, with_end=False)
    assert len(windows) == 2
    for index in range(2):
        np.testing.assert_array_equal(windows[index], rows[index]["ids"])


def test_examples_make_the_batches_of_the_prepared_ones(
    rows: list[dict[str, Any]], examples: list[dict[str, Any]]
) -> None:
    packed = Examples(
        Articles(in_two_shards(rows)),
        [pack_examples(part, N_FEATURES) for part in (examples[:1], examples[1:])],
    )
    assert packed.n_episodes.tolist() == [len(example["episodes"]) for example in examples]
    assert packed.n_episodes[0] > 0
    prepared = [example | {"n_words": np.array(example["n_words"])} for example in examples[:2]]
    expected, found = (
        ExtractCollator(N_FEATURES, seed=1)(batch) for batch in (prepared, [packed[0], packed[1]])
    )
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        close = {"features": 1 / 32, "next_pick": 0.02, "membership": 0.02, "weight": 1e-3}
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=close.get(name, 0))
