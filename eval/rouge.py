"""Command `python -m eval.rouge`: ROUGE of our summaries and of the baselines, group by group."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from datasets import disable_progress_bars
from tqdm import tqdm

from eval.baselines import BASELINES
from eval.command import checkpoint_name, positive, require_folder_of
from eval.evaluation import (
    LoadSystem,
    System,
    evaluate,
    load_baseline,
    load_terraformer,
    make_tasks,
    mean_abstract_words,
    sample,
)
from eval.metrics import BOOTSTRAP_SEED, N_RESAMPLES
from eval.report import (
    format_shares,
    format_table,
    predictions_path,
    summarize_groups,
    write_report,
)
from finetune.command import exit_status
from finetune.data import DATA_VARIABLE, SPLITS, find_split
from terraformer.summary import LENGTHS, Length

OURS = "terraformer"
LoadOurs = Callable[[str | None, Length | int], System]


def main(arguments: Sequence[str] | None = None, load_ours: LoadOurs = load_terraformer) -> int:
    """Runs the command and returns its exit status.

    Args:
        arguments: Words of the command line after the name; None takes those of the process.
        load_ours: Loads the system under test, given the model and the length.
    """
    options = _parser().parse_args(arguments)
    return exit_status("eval.rouge", lambda: _run(options, load_ours))


def _run(options: argparse.Namespace, load_ours: LoadOurs) -> None:
    require_folder_of(options.report)
    disable_progress_bars()
    torch.set_num_threads(1)
    rows = find_split(options.split, options.data)
    budgets = mean_abstract_words(rows)
    places = sample(rows["id"], options.limit)
    tasks = make_tasks(rows, places, budgets)
    loaders: dict[str, LoadSystem] = {OURS: partial(load_ours, options.model, options.length)}
    loaders |= {name: partial(load_baseline, name) for name in options.baselines}
    running = evaluate(tasks, loaders, min(options.threads, max(1, len(tasks))))
    results = list(tqdm(running, total=len(tasks), desc="documents", unit="doc", file=sys.stderr))

    print(format_table(summarize_groups(results)))
    shares = format_shares(results, OURS)
    if shares:
        print(f"\n{shares}")
    if options.report:
        write_report(options.report, _describe(options, budgets, len(tasks), len(rows)), results)
        print(
            f"wrote {options.report} and {predictions_path(options.report)}",
            file=sys.stderr,
        )


def _describe(
    options: argparse.Namespace, budgets: dict[str, int], n_documents: int, n_split: int
) -> dict[str, Any]:
    """Returns what is needed to repeat the run."""
    folder = options.data or os.environ.get(DATA_VARIABLE)
    return {
        "split": options.split,
        "data": Path(folder).name if folder else "Hub",
        "n_split": n_split,
        "n_documents": n_documents,
        "limit": options.limit,
        "sampling": "the ids with the smallest SHA-1" if options.limit else None,
        "model": checkpoint_name(options.model),
        "length": options.length,
        "baselines": list(options.baselines),
        "budget_words": budgets,
        "rouge": f"rouge-score {version('rouge-score')}, F1, Porter stemmer, sentences of "
        "terraformer.sentence_splitter",
        "bootstrap": {"n_resamples": N_RESAMPLES, "seed": BOOTSTRAP_SEED, "over": "documents"},
        "versions": {name: version(name) for name in ("torch", "numpy", "sentencex")},
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m eval.rouge",
        description="Scores summaries of the papers of a split against their abstracts with ROUGE "
        "F1 (Porter stemmer), with 95 % bootstrap intervals over documents. Table to stdout, "
        "progress to stderr.",
        epilog="Baselines are cut at the mean abstract length of their group in the whole split; "
        "the oracle, which sees the abstract, ends where no sentence raises its score. Compare "
        "systems within one run only.",
    )
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
        "--baselines",
        type=_baselines,
        default=(),
        metavar="NAMES",
        help=f"also run these, separated by commas: {', '.join(BASELINES)}; or all",
    )
    parser.add_argument(
        "--data",
        metavar="DIR",
        help="folder with train*, validation* and test*.parquet (default: the variable "
        f"{DATA_VARIABLE}, then the Hub)",
    )
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
    return parser


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


def _baselines(text: str) -> tuple[str, ...]:
    names = tuple(BASELINES) if text == "all" else tuple(text.replace(" ", "").split(","))
    unknown = [name for name in names if name not in BASELINES]
    if unknown:
        raise argparse.ArgumentTypeError(
            f"{', '.join(map(repr, unknown))}: known are {', '.join(BASELINES)}"
        )
    return tuple(dict.fromkeys(names))


def _report(text: str) -> Path:
    path = Path(text)
    if path.suffix == ".jsonl":
        raise argparse.ArgumentTypeError(f"{text!r}: the suffix .jsonl is that of the predictions")
    return path


if __name__ == "__main__":
    sys.exit(main())
