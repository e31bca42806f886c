"""What the commands of this package share: their errors, and how arguments are read and told."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from terraformer.errors import DataError, TerraformerError


def exit_status(name: str, action: Callable[[], None]) -> int:
    """Runs `action`; what a user can mend becomes one line on stderr.

    Returns:
        0, or 1 after an error.
    """
    try:
        action()
    except TerraformerError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{name}: {error.strerror or error}: {error.filename}", file=sys.stderr)
        return 1
    return 0


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
