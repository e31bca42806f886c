"""Articles as token ids, for the tasks that read and write tokens."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, Features, List, Value, load_dataset
from pyarrow import compute

from finetune.data import abstract_of, group_of, to_document
from finetune.gap_sentences import principal_scores
from terraformer.errors import DataError, DocumentError
from terraformer.tokenizer import Tokenizer

ARTICLE_COLUMNS = Features(
    {
        "id": Value("string"),
        "group": Value("string"),
        "ids": List(Value("int32")),  # [L]
        "sentence_of_token": List(Value("int32")),  # [L], -1 outside sentences
        "principal": List(Value("float32")),  # [S], ROUGE-1 F1 against the other sentences
        "abstract_ids": List(Value("int32")),  # [T]
    }
)
_LOG = logging.getLogger(__name__)


def to_article(row: dict[str, Any], tokenizer: Tokenizer) -> dict[str, Any]:
    """Turns a row of `find_split` into a row with the columns of ARTICLE_COLUMNS.

    A paper without sentences becomes a row without tokens, which training leaves out.
    """
    article = {
        "id": row["id"],
        "group": group_of(row["origin"]),
        "ids": np.zeros(0, np.int32),
        "sentence_of_token": np.zeros(0, np.int32),
        "principal": np.zeros(0, np.float32),
        "abstract_ids": tokenizer.encode(abstract_of(row)),
    }
    try:
        document = to_document(row)
    except DocumentError:
        return article
    tokenized = tokenizer.encode_document(document)
    return article | {
        "ids": tokenized.ids,
        "sentence_of_token": tokenized.sentence_of_token,
        "principal": principal_scores([sentence.text for sentence in document.sentences]),
    }


def load_articles(path: Path) -> Dataset:
    """Loads prepared articles, all of them.

    Raises:
        DataError: if the file is missing.
    """
    if not path.exists():
        raise DataError(
            f"no articles at {path}: make them with `python -m finetune.prepare --form articles`"
        )
    return load_dataset("parquet", data_files=str(path), split="train")


def keep_whole(
    articles: Dataset,
    *,
    min_sentences: int,
    max_tokens: int | None = None,
    max_target: int | None = None,
    limit: int | None = None,
) -> Dataset:
    """Keeps the articles that a model takes whole, and says how many it does not.

    Args:
        articles: From `load_articles`.
        min_sentences: Articles with fewer are left out.
        max_tokens: Longer articles are left out; None keeps all.
        max_target: Articles whose abstracts are longer are left out; None keeps all.
        limit: Only the first of what is kept.
    Returns:
        The articles, with their lengths in the column "n_tokens" and their number in "index".
    """
    n_tokens, n_sentences, n_target = (
        compute.call_function("list_value_length", [articles.data.column(column)]).to_numpy()
        for column in ("ids", "principal", "abstract_ids")
    )
    whole = (n_sentences >= min_sentences) & (n_target > 0)
    short = whole.copy()
    if max_tokens is not None:
        short &= n_tokens <= max_tokens
    if max_target is not None:
        short &= n_target <= max_target
    if short.sum() < whole.sum():
        _LOG.warning(
            "%d of %d articles are left out: longer than %s tokens, or their abstracts than %s",
            whole.sum() - short.sum(),
            whole.sum(),
            max_tokens or "any",
            max_target or "any",
        )
    articles = articles.add_column("n_tokens", n_tokens.tolist())
    articles = articles.add_column("index", list(range(len(articles))))
    return articles.select(np.flatnonzero(short)[:limit]).with_format("numpy")
