"""Command-line arguments of what is evaluated, and on which papers."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from eval.command import positive
from finetune.data import DATA_VARIABLE, SPLITS
from terraformer.device import DEFAULT_DEVICE, DEVICE_NAMES, is_device_name, uses_gpu
from terraformer.summary import LENGTHS, Length


def add_paper_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds --split, --limit and --data."""
    parser.add_argument(
        "--split", choices=SPLITS, default="test", help="papers to score on (default: %(default)s)"
    )
    parser.add_argument(
        "--limit",
        type=positive,
        metavar="N",
        help="take a fixed pseudo-random sample of N papers of the split (default: all)",
    )
    parser.add_argument(
        "--data",
        metavar="DIR",
        help="folder with train*, validation* and test*.parquet (default: the variable "
        f"{DATA_VARIABLE}, then the Hub)",
    )


def add_system_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds --model and --length."""
    parser.add_argument(
        "--model",
        metavar="NAME_OR_FOLDER",
        help="shipped checkpoint or checkpoint folder (default: the shipped one)",
    )
    parser.add_argument(
        "--length",
        type=_length,
        default="normal",
        metavar="LENGTH",
        help="length of our summaries: short, normal, long or a number of words "
        "(default: %(default)s)",
    )


def add_device_argument(parser: argparse.ArgumentParser) -> None:
    """Adds --device."""
    parser.add_argument(
        "--device",
        type=_device,
        default=DEFAULT_DEVICE,
        metavar="auto|cpu|cuda|cuda:N",
        help="where the model works; on a GPU one paper after another (default: %(default)s)",
    )


def n_processes(options: argparse.Namespace, n_papers: int) -> int:
    """Returns how many papers are worked on at once, given --threads and --device.

    Raises:
        DeviceError: if the device is not there.
    """
    return 1 if uses_gpu(options.device) else max(1, min(options.threads, n_papers))


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds --report and --threads."""
    parser.add_argument(
        "--report",
        type=_report,
        metavar="FILE",
        help="write the results there, and the predictions beside it as .jsonl",
    )
    parser.add_argument(
        "--threads",
        type=positive,
        default=os.cpu_count() or 1,
        metavar="N",
        help="papers worked on at once, each in a process with one thread (default: %(default)s)",
    )


def _length(text: str) -> Length | int:
    for name in LENGTHS:
        if text == name:
            return name
    try:
        return positive(text)
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(
            f"{text!r} must be one of {', '.join(LENGTHS)} or a number of words"
        ) from error


def _device(text: str) -> str:
    if not is_device_name(text):
        raise argparse.ArgumentTypeError(f"{text!r} must be {DEVICE_NAMES}")
    return text


def _report(text: str) -> Path:
    path = Path(text)
    if path.suffix == ".jsonl":
        raise argparse.ArgumentTypeError(f"{text!r}: the suffix .jsonl is that of the predictions")
    return path
