"""What the commands of this package share: how arguments are read and told."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
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


def command_line(module: str, arguments: Sequence[str] | None) -> str:
    """Returns the command as a report tells it: of an absolute path only the last part.

    Args:
        module: What `python -m` runs.
        arguments: Words after it; None takes those of the process.
    """
    words = sys.argv[1:] if arguments is None else arguments
    shown = []
    for word in words:
        option, equals, value = word.rpartition("=")
        shown.append(f"{option}{equals}{Path(value).name if Path(value).is_absolute() else value}")
    return shlex.join(["python", "-m", module, *shown])


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
