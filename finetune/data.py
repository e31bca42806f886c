"""Finds the papers to train and evaluate on, and turns their rows into documents."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from datasets import Dataset, concatenate_datasets, load_dataset

from terraformer.document import Document
from terraformer.errors import DataError

SPLITS = ("train", "validation", "test")
GROUPS = ("pubmed", "sumpubmed", "arxiv", "other")
DATA_VARIABLE = "TERRAFORMER_DATA"
HUB_DATASETS = {
    "ccdv/arxiv-summarization": "arxiv_hub",
    "ccdv/pubmed-summarization": "pubmed_hub",
}

_GROUP_OF_ORIGIN = {
    "elife": "pubmed",
    "plos": "pubmed",
    "sumpubmed": "sumpubmed",
    "neurips2025": "arxiv",
    "pmlr": "arxiv",
    "arxiv_collector": "arxiv",
    "iclr_openreview": "arxiv",
    "unarxive_sample": "arxiv",
    "arxiv_hub": "arxiv",
    "pubmed_hub": "pubmed",
}
# What journals append to abstracts, and what the collectors of some data took for a part of them.
_JOURNAL_TAIL = re.compile(
    r"\s*(?:"
    r"(?:\belectronic supplementary material\s+)?"
    r"\bthe online version (?:of this (?:article|paper)\b.{0,80}?\b)?"
    r"contains supplementary material"
    r"|(?<=[.!?)\]]\s)keywords\b.{0,1000}?copyright-statement"
    r"|(?:\bissue-)?copyright-statement©"
    r").*",
    re.DOTALL | re.IGNORECASE,
)


def group_of(origin: str) -> str:
    """Returns the group under which papers of `origin` are reported."""
    if origin.startswith("pmc_"):
        return "pubmed"
    return _GROUP_OF_ORIGIN.get(origin, "other")


def find_split(split: str, data: str | Path | None = None) -> Dataset:
    """Finds a split of the papers.

    Looked for in this order: the folder `data`, the folder named by TERRAFORMER_DATA, and the Hub's
    ccdv/arxiv-summarization and ccdv/pubmed-summarization.

    Args:
        split: "train", "validation" or "test".
        data: Folder with `train*.parquet`, `validation*.parquet` and `test*.parquet`.
    Returns:
        Rows with id, origin, abstract, and either title and sections or article.
    Raises:
        DataError: if a named folder has no such file, or nothing can be reached.
    """
    if split not in SPLITS:
        raise ValueError(f"split ({split!r}) must be one of {SPLITS}")
    folder = data or os.environ.get(DATA_VARIABLE)
    if folder:
        files = sorted(str(path) for path in Path(folder).glob(f"{split}*.parquet"))
        if not files:
            named_by = "--data" if data else DATA_VARIABLE
            raise DataError(
                f"no {split}*.parquet in {folder} (named by {named_by}): "
                "give a folder that holds train, validation and test as Parquet files"
            )
        return load_dataset("parquet", data_files=files, split="train")
    try:
        return concatenate_datasets(
            [_from_hub(name, origin, split) for name, origin in HUB_DATASETS.items()]
        )
    except (OSError, ValueError) as error:
        raise DataError(
            f"no papers found: give --data FOLDER, or set {DATA_VARIABLE} to a folder of "
            "train*, validation* and test*.parquet, or connect to the internet to take "
            f"{' and '.join(HUB_DATASETS)} from the Hub ({type(error).__name__})"
        ) from error


def _from_hub(name: str, origin: str, split: str) -> Dataset:
    # Both sets come as "section", sections on lines of their own, and as one run-on "document".
    rows = load_dataset(name, "section", split=split)
    return rows.add_column("origin", [origin] * len(rows)).add_column(
        "id", [f"{origin}:{index}" for index in range(len(rows))]
    )


def to_document(row: dict[str, Any]) -> Document:
    """Turns a row of `find_split` into a document without its abstract.

    Raises:
        DataError: if the row has neither sections nor an article.
    """
    if row.get("sections") is not None:
        sections = [(section["heading"] or "", section["text"]) for section in row["sections"]]
    elif row.get("article") is not None:
        sections = [("", row["article"])]
    else:
        raise DataError(f"a row needs 'sections' or 'article'; it has {', '.join(sorted(row))}")
    return Document.from_sections(sections, title=row.get("title") or "")


def abstract_of(row: dict[str, Any]) -> str:
    """Returns what the abstract of a row of `find_split` says, without what journals append.

    A quarter of SumPubMed's abstracts end in a note on supplementary material, keywords run
    together and a copyright statement: a model would learn to write them, and an oracle to pick
    what is like them. Evaluation takes references as they are.
    """
    return _JOURNAL_TAIL.sub("", row["abstract"])
