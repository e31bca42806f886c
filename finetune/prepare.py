"""Turns papers into training examples, once: `python -m finetune.prepare OUT --tokenizer FILE`.

A split becomes one Parquet file, so that training reads numbers only: of token ids, sentence
features and oracle episodes for picking sentences, of articles as token ids for the tasks that
write, or of articles with what the shipped extractor and an oracle pick for the task that rewrites.
A split whose file exists is left alone.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset, Features, List, Value, load_dataset
from numpy.typing import NDArray
from pyarrow import compute

from finetune.article import ARTICLE_COLUMNS, to_article
from finetune.command import exit_status
from finetune.data import abstract_of, find_split, group_of, to_document
from finetune.oracle import beam_episodes
from finetune.rewrite import REWRITE_COLUMNS, to_rewrite
from terraformer.errors import DataError, DocumentError
from terraformer.features import sentence_features
from terraformer.selectable import selectable_sentences
from terraformer.tokenizer import Tokenizer

SPLITS = ("validation", "train")  # those that training reads
COLUMNS = Features(
    {
        "id": Value("string"),
        "group": Value("string"),
        "ids": List(Value("int32")),  # [L]
        "sentence_of_token": List(Value("int32")),  # [L], -1 outside sentences
        "features": List(Value("float16")),  # [S * N_FEATURES]
        "selectable": List(Value("bool")),  # [S]
        "n_words": List(Value("int32")),  # [S]
        "reference_words": Value("int32"),
        "episodes": List(List(Value("int32"))),  # best first
        "scores": List(Value("float32")),  # mean ROUGE-1/2 F1 of each episode
    }
)
_LOG = logging.getLogger(__name__)


def to_example(row: dict[str, Any], tokenizer: Tokenizer) -> dict[str, Any]:
    """Turns a row of `find_split` into an example with the columns of COLUMNS.

    A paper without sentences becomes an example without episodes, which training leaves out.
    """
    abstract = abstract_of(row)
    try:
        document = to_document(row)
    except DocumentError:
        return {
            "id": row["id"],
            "group": group_of(row["origin"]),
            "ids": np.zeros(0, np.int32),
            "sentence_of_token": np.zeros(0, np.int32),
            "features": np.zeros(0, np.float16),
            "selectable": np.zeros(0, bool),
            "n_words": [],
            "reference_words": len(abstract.split()),
            "episodes": [],
            "scores": [],
        }
    tokenized = tokenizer.encode_document(document)
    selectable = selectable_sentences(document)
    episodes = beam_episodes(
        [sentence.text for sentence in document.sentences],
        abstract,
        candidates=[int(index) for index in selectable.nonzero()[0]],
    )
    return {
        "id": row["id"],
        "group": group_of(row["origin"]),
        "ids": tokenized.ids,
        "sentence_of_token": tokenized.sentence_of_token,
        "features": sentence_features(document).astype("float16").ravel(),
        "selectable": selectable,
        "n_words": [sentence.n_words for sentence in document.sentences],
        "reference_words": len(abstract.split()),
        "episodes": [list(episode.picks) for episode in episodes],
        "scores": [episode.score for episode in episodes],
    }


FORMS: dict[str, tuple[Features, Callable[[dict[str, Any], Tokenizer], dict[str, Any]]]] = {
    "extract": (COLUMNS, to_example),
    "articles": (ARTICLE_COLUMNS, to_article),
    "rewrite": (REWRITE_COLUMNS, to_rewrite),
}


def prepare(
    rows: Dataset, tokenizer_path: Path, output: Path, n_processes: int, form: str = "extract"
) -> None:
    """Writes the examples of `rows` to the Parquet file `output`, whole or not at all."""
    columns, to_row = FORMS[form]
    has_workers = n_processes > 1

    def prepared(row: dict[str, Any]) -> dict[str, Any]:
        if has_workers:
            # Forked, a worker would wait for threads that PyTorch has in this process alone.
            torch.set_num_threads(1)
        return to_row(row, _tokenizer(tokenizer_path))

    examples = rows.map(
        prepared,
        remove_columns=rows.column_names,
        features=columns,
        num_proc=n_processes if has_workers else None,
        desc=f"preparing {output.stem}",
        writer_batch_size=200,
    )
    partial = output.with_suffix(".partial")
    examples.to_parquet(partial, batch_size=500)
    partial.rename(output)


def prepare_missing(
    output: Path,
    tokenizer_path: Path,
    data: str | None = None,
    *,
    splits: Sequence[str] = SPLITS,
    limit: int | None = None,
    n_processes: int = 2,
    form: str = "extract",
) -> None:
    """Prepares those of `splits` that the folder `output` does not hold yet.

    Args:
        output: Folder of one Parquet file a split; made if it does not exist.
        tokenizer_path: Sentencepiece model.
        data: Where the papers are; see `find_split`.
        splits: Which.
        limit: Only the first rows of each split, for a trial.
        n_processes: Processes to work in.
        form: One of FORMS.
    Raises:
        DataError: if the papers are not found.
    """
    output.mkdir(parents=True, exist_ok=True)
    for split in splits:
        path = output / f"{split}.parquet"
        if path.exists():
            continue
        rows = find_split(split, data)
        if limit:
            rows = rows.select(range(min(limit, len(rows))))
        prepare(rows, tokenizer_path, path, n_processes, form)


def load_examples(
    path: Path, *, limit: int | None = None, max_tokens: int | None = None
) -> Dataset:
    """Loads prepared examples, without those that have no episode.

    Args:
        path: A Parquet file of `finetune.prepare`.
        limit: Only the first examples.
        max_tokens: Leave out documents longer than this; None keeps all.
    Raises:
        DataError: if the file is missing.
    """
    if not path.exists():
        raise DataError(f"no examples at {path}: make them with `python -m finetune.prepare`")
    examples = load_dataset("parquet", data_files=str(path), split="train")
    n_tokens = _lengths(examples, "ids")
    n_episodes = _lengths(examples, "episodes")
    keep = n_episodes > 0
    if max_tokens is not None:
        n_long = int((keep & (n_tokens > max_tokens)).sum())
        keep &= n_tokens <= max_tokens
        if n_long:
            _LOG.warning("%d documents are left out: longer than %d tokens", n_long, max_tokens)
    examples = examples.add_column("n_tokens", n_tokens.tolist())
    return examples.select(np.flatnonzero(keep)[:limit]).with_format("numpy")


def _lengths(examples: Dataset, column: str) -> NDArray[np.int32]:
    """Returns the length of each row's list in `column`, [rows]."""
    return compute.call_function("list_value_length", [examples.data.column(column)]).to_numpy()


_tokenizers: dict[Path, Tokenizer] = {}


def _tokenizer(path: Path) -> Tokenizer:
    """Returns the tokenizer at `path`, loaded once in each worker process."""
    if path not in _tokenizers:
        _tokenizers[path] = Tokenizer(path)
    return _tokenizers[path]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path, help="folder to write to, such as runs/examples")
    parser.add_argument("--tokenizer", type=Path, required=True, help="sentencepiece model")
    parser.add_argument("--data", help="folder of Parquet files (default: TERRAFORMER_DATA)")
    parser.add_argument("--form", choices=FORMS, default="extract", help="(default: extract)")
    parser.add_argument("--splits", nargs="+", default=SPLITS)
    parser.add_argument("--limit", type=int, help="only the first rows of each split, for a trial")
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    return exit_status(
        "finetune.prepare",
        lambda: prepare_missing(
            arguments.output,
            arguments.tokenizer,
            arguments.data,
            splits=arguments.splits,
            limit=arguments.limit,
            n_processes=arguments.processes,
            form=arguments.form,
        ),
    )


if __name__ == "__main__":
    sys.exit(main())
