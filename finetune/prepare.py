"""Turns papers into training examples, once: `python -m finetune.prepare OUT --tokenizer FILE`.

A split becomes one Parquet file of token ids, sentence features and oracle episodes, so that
training reads numbers only. A split whose file exists is left alone.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, Features, List, Value

from finetune.command import exit_status
from finetune.data import find_split, group_of, to_document
from finetune.oracle import beam_episodes
from terraformer.errors import DocumentError
from terraformer.features import selectable_sentences, sentence_features
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


def to_example(row: dict[str, Any], tokenizer: Tokenizer) -> dict[str, Any]:
    """Turns a row of `find_split` into an example with the columns of COLUMNS.

    A paper without sentences becomes an example without episodes, which training leaves out.
    """
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
            "reference_words": len(row["abstract"].split()),
            "episodes": [],
            "scores": [],
        }
    tokenized = tokenizer.encode_document(document)
    selectable = selectable_sentences(document)
    episodes = beam_episodes(
        [sentence.text for sentence in document.sentences],
        row["abstract"],
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
        "reference_words": len(row["abstract"].split()),
        "episodes": [list(episode.picks) for episode in episodes],
        "scores": [episode.score for episode in episodes],
    }


def prepare(rows: Dataset, tokenizer_path: Path, output: Path, n_processes: int) -> None:
    """Writes the examples of `rows` to the Parquet file `output`, whole or not at all."""
    examples = rows.map(
        lambda row: to_example(row, _tokenizer(tokenizer_path)),
        remove_columns=rows.column_names,
        features=COLUMNS,
        num_proc=n_processes,
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
) -> None:
    """Prepares those of `splits` that the folder `output` does not hold yet.

    Args:
        output: Folder of one Parquet file a split; made if it does not exist.
        tokenizer_path: Sentencepiece model.
        data: Where the papers are; see `find_split`.
        splits: Which.
        limit: Only the first rows of each split, for a trial.
        n_processes: Processes to work in.
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
        prepare(rows, tokenizer_path, path, n_processes)


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
        ),
    )


if __name__ == "__main__":
    sys.exit(main())
