"""Command `python -m eval.speed`: times of decoding, encoding, training and summarizing."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import torch

from eval.command import checkpoint_name, positive, positive_list, require_folder_of
from eval.decode_figure import FIGURES
from eval.encoders import EncoderSizes
from eval.memory_systems import CHUNK_LEN, SYSTEMS, Sizes
from eval.plot import require_drawable
from eval.speed_decode import measure_decode
from eval.speed_encode import BASELINES, ENCODE_TOKENS, measure_encode, plot_encode
from eval.speed_summarize import measure_summarize
from eval.speed_train import measure_train
from eval.table import describe_machine, format_rows, write_rows
from finetune.command import exit_status
from terraformer.summarizer import Summarizer

SUMMARIZE_WORDS = (1_000, 6_000, 20_000, 60_000)
TRAIN_TOKENS = (4_096, 16_384)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.what in ("encode", "train") and any(n % CHUNK_LEN for n in options.sizes):
        parser.error(f"--sizes must be multiples of {CHUNK_LEN}")
    return exit_status("eval.speed", lambda: _run(options))


def _run(options: argparse.Namespace) -> None:
    require_folder_of(options.report)
    if getattr(options, "plot", None):
        require_folder_of(options.plot)
        require_drawable(options.plot)
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    config = {name: value for name, value in vars(options).items() if name not in _NOT_SETTINGS}
    if options.what == "summarize":
        config["model"] = checkpoint_name(options.model)
    rows = _MEASURES[options.what](options)
    print(format_rows(rows))
    if options.report:
        write_rows(options.report, {**config, **describe_machine()}, rows=rows)


def _decode(options: argparse.Namespace) -> list[dict[str, Any]]:
    return measure_decode(options.figures, options.repeats)


def _encode(options: argparse.Namespace) -> list[dict[str, Any]]:
    rows = measure_encode(
        sorted(options.sizes),
        options.systems,
        EncoderSizes(),
        options.repeats,
        int(options.limit_gib * 2**30),
        60.0 * options.limit_minutes,
    )
    if options.plot:
        plot_encode(options.plot, rows)
    return rows


def _train(options: argparse.Namespace) -> list[dict[str, Any]]:
    return measure_train(options.sizes, options.systems, Sizes(), options.repeats)


def _summarize(options: argparse.Namespace) -> list[dict[str, Any]]:
    summarizer = Summarizer.load(options.model, threads=options.threads)
    return measure_summarize(summarizer, options.sizes, options.repeats)


_MEASURES = {"decode": _decode, "encode": _encode, "train": _train, "summarize": _summarize}
_NOT_SETTINGS = {"report", "plot", "model"}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m eval.speed",
        description="Times our models on this machine's CPU beside others, in turn, float32 unless "
        "a row says otherwise: medians and quartiles of milliseconds. The table goes to stdout, "
        "progress to stderr.",
    )
    commands = parser.add_subparsers(dest="what", required=True, metavar="WHAT")
    decode = commands.add_parser(
        "decode", help="a token of sparse models in C++ beside dense ones in PyTorch"
    )
    decode.add_argument(
        "--figures",
        type=_names(FIGURES),
        default=tuple(FIGURES),
        metavar="NAME,…",
        help=f"rows of the table (default: all of {', '.join(FIGURES)})",
    )
    encode = commands.add_parser(
        "encode", help="an encoder of long documents beside full attention and other encoders"
    )
    _add_sizes(encode, ENCODE_TOKENS, "tokens of the documents")
    _add_systems(encode, BASELINES)
    encode.add_argument(
        "--limit-gib",
        type=float,
        default=8.0,
        metavar="N",
        help="most memory of an encoder (default: %(default)g)",
    )
    encode.add_argument(
        "--limit-minutes",
        type=float,
        default=5.0,
        metavar="N",
        help="most time of an encoding (default: %(default)g)",
    )
    encode.add_argument(
        "--plot", type=Path, metavar="FILE", help="draw time and memory over the length"
    )
    train = commands.add_parser("train", help="a training step beside other models")
    _add_sizes(train, TRAIN_TOKENS, "tokens of the document")
    _add_systems(train, [name for name in SYSTEMS if name != "terraformer"])
    summarize = commands.add_parser("summarize", help="whole summaries of synthetic documents")
    _add_sizes(summarize, SUMMARIZE_WORDS, "words of the documents")
    summarize.add_argument(
        "--model", metavar="NAME_OR_FOLDER", help="default: the shipped checkpoint"
    )
    for command, repeats in ((decode, 15), (encode, 5), (train, 3), (summarize, 5)):
        command.add_argument(
            "--repeats",
            type=positive,
            default=repeats,
            metavar="N",
            help="rounds that are timed, fewer if they take long (default: %(default)s)",
        )
        command.add_argument(
            "--threads", type=positive, metavar="N", help="threads (default: as torch chooses)"
        )
        command.add_argument(
            "--report", type=Path, metavar="FILE", help="write the rows there as JSON"
        )
    return parser


def _add_sizes(command: argparse.ArgumentParser, sizes: Sequence[int], meaning: str) -> None:
    command.add_argument(
        "--sizes",
        type=positive_list,
        default=tuple(sizes),
        metavar="N,N,…",
        help=f"{meaning} (default: {','.join(map(str, sizes))})",
    )


def _add_systems(command: argparse.ArgumentParser, names: Sequence[str]) -> None:
    command.add_argument(
        "--systems",
        type=_names(names),
        default=tuple(names),
        metavar="NAME,…",
        help=f"what to compare with (default: {','.join(names)})",
    )


def _names(known: Collection[str]) -> Callable[[str], tuple[str, ...]]:
    """Returns what reads names from the command line, separated by commas."""

    def read(text: str) -> tuple[str, ...]:
        names = tuple(part.strip() for part in text.split(","))
        for name in names:
            if name not in known:
                raise argparse.ArgumentTypeError(f"{name!r} must be one of {', '.join(known)}")
        return names

    return read


if __name__ == "__main__":
    sys.exit(main())
