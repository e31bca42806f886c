"""Command-line arguments that the doors share. Light: `--help` must not wait for torch."""

from __future__ import annotations

import argparse
import re

from terraformer.device import DEFAULT_DEVICE, DEVICE_NAMES, is_device_name
from terraformer.summary import LENGTHS, Length

_MEMORY = re.compile(r"(\d+(?:\.\d+)?)\s*(?:([kmgt])(i?)b?|b)?", re.IGNORECASE)


def memory_size(text: str) -> int:
    """Parses a size such as "4GiB", "800MB" or "4G" (= GiB) to bytes.

    Raises:
        argparse.ArgumentTypeError: if it is no size.
    """
    match = _MEMORY.fullmatch(text.strip())
    if match is None:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a memory size: write a number and a unit, such as 4GiB or 800MB"
        )
    number, unit, binary = match.groups()
    if unit is None:
        return int(float(number))
    is_decimal = text.strip().lower().endswith("b") and not binary
    return int(float(number) * (1000 if is_decimal else 1024) ** ("kmgt".index(unit.lower()) + 1))


def summary_length(text: str) -> Length | int:
    """Parses "short", "normal", "long" or a number of words.

    Raises:
        argparse.ArgumentTypeError: if it is none of them.
    """
    for length in LENGTHS:
        if text.lower() == length:
            return length
    return positive_count(text, or_else=f"one of {', '.join(LENGTHS)} or a number of words")


def positive_count(text: str, or_else: str = "a whole number from 1") -> int:
    """Parses a whole number from 1.

    Raises:
        argparse.ArgumentTypeError: if it is none; `or_else` says what is expected.
    """
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not {or_else}")
    return int(text)


def device_name(text: str) -> str:
    """Parses "auto", "cpu", "cuda" or "cuda:N"; whether it is there is seen when it is used.

    Raises:
        argparse.ArgumentTypeError: if it is none of them.
    """
    name = text.strip().lower()
    if not is_device_name(name):
        raise argparse.ArgumentTypeError(f"{text!r} is not {DEVICE_NAMES}")
    return name


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds --model, --device, --memory and --threads."""
    group = parser.add_argument_group("model")
    group.add_argument(
        "--model",
        metavar="NAME_OR_FOLDER",
        help="a shipped model's name or a checkpoint folder (default: the one that ships)",
    )
    group.add_argument(
        "--device",
        type=device_name,
        default=DEFAULT_DEVICE,
        metavar="auto|cpu|cuda|cuda:N",
        help="where the model works, auto is a GPU if there is one (default: %(default)s, "
        "where the shipped model is done in less than a second)",
    )
    group.add_argument(
        "--memory",
        type=memory_size,
        metavar="SIZE",
        help="most memory to use, such as 4GiB, of the GPU if it works there (default: what is "
        "needed)",
    )
    group.add_argument(
        "--threads",
        type=positive_count,
        metavar="N",
        help="CPU threads to use (default: one a core)",
    )
