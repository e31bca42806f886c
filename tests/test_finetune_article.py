from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset

from finetune.article import ARTICLE_COLUMNS, keep_whole, load_articles, to_article
from finetune.data import to_document
from finetune.gap_sentences import principal_scores
from finetune.prepare import prepare_missing
from terraformer.errors import DataError
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


def test_an_article_is_the_document_and_the_abstract_as_numbers(tiny_checkpoint: Path) -> None:
    tokenizer = Tokenizer(tiny_checkpoint / "tokenizer.model")
    article = to_article(ROW, tokenizer)
    document = to_document(ROW)
    tokenized = tokenizer.encode_document(document)
    assert set(article) == set(ARTICLE_COLUMNS)
    assert (article["id"], article["group"]) == ("x:1", "pubmed")
    np.testing.assert_array_equal(article["ids"], tokenized.ids)
    np.testing.assert_array_equal(article["sentence_of_token"], tokenized.sentence_of_token)
    assert tokenizer.decode(article["abstract_ids"]) == ROW["abstract"]
    expected = principal_scores([sentence.text for sentence in document.sentences])
    np.testing.assert_array_equal(article["principal"], expected)
    assert article["principal"][1] == 0 < article["principal"][0]


def test_papers_are_prepared_as_articles(tiny_checkpoint: Path, tmp_path: Path) -> None:
    Dataset.from_list([ROW, EMPTY]).to_parquet(tmp_path / "train.parquet")
    tokenizer_path = tiny_checkpoint / "tokenizer.model"
    folder = tmp_path / "articles"
    prepare_missing(
        folder, tokenizer_path, str(tmp_path), splits=["train"], n_processes=1, form="articles"
    )
    articles = load_articles(folder / "train.parquet")
    assert articles["id"] == ["x:1", "x:2"]
    assert [len(ids) > 0 for ids in articles["ids"]] == [True, False]
    assert list(keep_whole(articles, min_sentences=1)["id"]) == ["x:1"]


def table() -> Dataset:
    """Articles of 3, 9, 5, 4 and 5 tokens, of which the fourth has one sentence."""
    lengths, sentences, targets = (3, 9, 5, 4, 5), (2, 3, 2, 1, 2), (2, 2, 7, 3, 0)
    return Dataset.from_list(
        [
            {"ids": [i] * n, "principal": [0.5] * s, "abstract_ids": [2] * t}
            for i, (n, s, t) in enumerate(zip(lengths, sentences, targets, strict=True))
        ]
    )


@pytest.mark.parametrize(
    ("limits", "kept"),
    [
        ({"min_sentences": 1}, [0, 1, 2, 3]),
        ({"min_sentences": 2}, [0, 1, 2]),
        ({"min_sentences": 1, "max_tokens": 4}, [0, 3]),
        ({"min_sentences": 1, "max_target": 2}, [0, 1]),
        ({"min_sentences": 1, "max_target": 6, "limit": 2}, [0, 1]),
    ],
)
def test_articles_that_a_model_takes_whole_are_kept(
    limits: dict[str, int], kept: list[int]
) -> None:
    articles = keep_whole(table(), **limits)
    assert list(articles["index"]) == kept
    assert list(articles["n_tokens"]) == [len(ids) for ids in articles["ids"]]


def test_what_is_left_out_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        keep_whole(table(), min_sentences=1, limit=1)
        assert caplog.text == ""
        keep_whole(table(), min_sentences=1, max_tokens=4)
    assert "2 of 4 articles are left out: longer than 4 tokens" in caplog.text


def test_no_articles_is_an_error_that_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"finetune\.prepare --form articles`"):
        load_articles(tmp_path / "train.parquet")
