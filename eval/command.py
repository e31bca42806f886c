"""What the commands of this package share: how arguments are read and told."""

from __future__ import annotations

import argparse
from pathlib import Path

from terraformer.errors import DataError


def positive(text: str) -> int:
    """Reads a number of at least 1 from the command line."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number of at least 1")
    return int(text)


def positive_list(text: str) -> tuple[int, ...]:
    """Reads numbers of at least 1, separated by commas."""
    return tuple(positive(part.strip()) for part in text.split(","))


def checkpoint_name(model: str | None) -> str | None:
    """Returns a checkpoint as reports name it: of a folder only the last part of its path."""
    return Path(model).resolve().name if model and Path(model).is_dir() else model


def require_folder_of(report: Path | None) -> None:
    """Makes sure before the work starts that its report can be written.

    Raises:
        DataError: if the folder of `report` does not exist.
    """
    if report is not None and not report.parent.is_dir():
        raise DataError(f"the folder {report.parent} of --report is missing: make it first")
