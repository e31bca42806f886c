"""Command `python -m eval.rouge`: ROUGE and other measures of our summaries and of the baselines.

They are told by group of papers, by length of the paper, and by kind of section picked from.
"""

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
from eval.command import checkpoint_name, command_line, require_folder_of
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
from eval.redundancy import NEAR_DUPLICATE
from eval.results import (
    LENGTH_LIMITS,
    predictions_path,
    summarize_groups,
    summarize_lengths,
    write_report,
)
from eval.results_rows import length_rows, measure_rows, rouge_rows, section_rows
from eval.system_arguments import add_paper_arguments, add_run_arguments, add_system_arguments
from eval.table import format_rows
from finetune.command import exit_status
from finetune.data import DATA_VARIABLE, find_split
from terraformer.summary import Length

OURS = "terraformer"
LoadOurs = Callable[[str | None, Length | int], System]


def main(arguments: Sequence[str] | None = None, load_ours: LoadOurs = load_terraformer) -> int:
    """Runs the command and returns its exit status.

    Args:
        arguments: Words of the command line after the name; None takes those of the process.
        load_ours: Loads the system under test, given the model and the length.
    """
    options = _parser().parse_args(arguments)
    command = command_line("eval.rouge", arguments)
    return exit_status("eval.rouge", lambda: _run(options, load_ours, command))


def _run(options: argparse.Namespace, load_ours: LoadOurs, command: str) -> None:
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

    groups, lengths = summarize_groups(results), summarize_lengths(results)
    for rows_of, values in (
        (rouge_rows, groups),
        (measure_rows, groups),
        (length_rows, lengths),
        (section_rows, groups),
    ):
        print(format_rows(rows_of(values)), end="\n\n")
    print(
        "± is half of the 95 % interval's width; the share is that of the gap in R2 from lexrank "
        "to oracle, where both were run."
    )
    if options.report:
        config = {"command": command, **_describe(options, budgets, len(tasks), len(rows))}
        write_report(options.report, config, results, lengths=lengths)
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
        "near_duplicate": NEAR_DUPLICATE,
        "length_limits": list(LENGTH_LIMITS),
        "bootstrap": {"n_resamples": N_RESAMPLES, "seed": BOOTSTRAP_SEED, "over": "documents"},
        "versions": {name: version(name) for name in ("torch", "numpy", "sentencex")},
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m eval.rouge",
        description="Scores summaries of the papers of a split against their abstracts with ROUGE "
        "F1 (Porter stemmer), with 95 % bootstrap intervals over documents, and measures how they "
        "draw on their source, repeat themselves, and choose among its sections. Tables to "
        "stdout, progress to stderr.",
        epilog="Baselines are cut at the mean abstract length of their group in the whole split; "
        "the oracle, which sees the abstract, ends where no sentence raises its score. Compare "
        "systems within one run only.",
    )
    add_paper_arguments(parser)
    parser.add_argument(
        "--baselines",
        type=_baselines,
        default=(),
        metavar="NAMES",
        help=f"also run these, separated by commas: {', '.join(BASELINES)}; or all",
    )
    add_system_arguments(parser)
    add_run_arguments(parser)
    return parser


def _baselines(text: str) -> tuple[str, ...]:
    names = tuple(BASELINES) if text == "all" else tuple(text.replace(" ", "").split(","))
    unknown = [name for name in names if name not in BASELINES]
    if unknown:
        raise argparse.ArgumentTypeError(
            f"{', '.join(map(repr, unknown))}: known are {', '.join(BASELINES)}"
        )
    return tuple(dict.fromkeys(names))


if __name__ == "__main__":
    sys.exit(main())
