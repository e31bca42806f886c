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
from eval.mode_rows import ALL, mode_length_rows, mode_rows, tell_faithfulness
from eval.redundancy import LOOP_TOKENS, LOOP_TURNS, NEAR_DUPLICATE, STUTTERS
from eval.results import (
    LENGTH_LIMITS,
    predictions_path,
    summarize,
    summarize_groups,
    summarize_lengths,
    write_report,
)
from eval.results_rows import length_rows, measure_rows, rouge_rows, section_rows
from eval.system_arguments import (
    add_device_argument,
    add_paper_arguments,
    add_run_arguments,
    add_system_arguments,
    n_processes,
)
from eval.table import describe_machine, format_rows
from finetune.command import exit_status
from finetune.data import DATA_VARIABLE, find_split
from terraformer.errors import DataError
from terraformer.summary import MODES

OURS = "terraformer"
BOTH = "both"
LoadOurs = Callable[..., System]


def main(arguments: Sequence[str] | None = None, load_ours: LoadOurs = load_terraformer) -> int:
    """Runs the command and returns its exit status.

    Args:
        arguments: Words of the command line after the name; None takes those of the process.
        load_ours: Loads the system under test, given what `load_terraformer` takes.
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
    if not tasks:
        raise DataError(f"the split {options.split} holds no papers: give another --data")
    loaders = _load_modes(options, load_ours)
    modes = [name for name in loaders if name != OURS]
    loaders |= {name: partial(load_baseline, name) for name in options.baselines}
    at_once = n_processes(options, len(tasks))
    running = evaluate(tasks, loaders, at_once)
    results = list(tqdm(running, total=len(tasks), desc="documents", unit="doc", file=sys.stderr))

    whole = summarize(results)
    groups, lengths = summarize_groups(results), summarize_lengths(results)
    values = {ALL: whole, "groups": groups, "lengths": lengths}
    for rows_of, found in (
        (rouge_rows, groups),
        (measure_rows, groups),
        (length_rows, lengths),
        (section_rows, groups),
    ):
        print(format_rows(rows_of(found)), end="\n\n")
    if modes:
        print(format_rows(mode_rows(values)), end="\n\n")
        print(format_rows(mode_length_rows(values)), end="\n\n")
        print("\n".join(tell_faithfulness(values, name) for name in modes), end="\n\n")
    print(
        "± is half of the 95 % interval's width; the share is that of the gap in R2 from lexrank "
        "to oracle, where both were run."
    )
    if options.report:
        config = {"command": command, **_describe(options, budgets, len(tasks), len(rows))}
        config |= {"papers_at_once": at_once, "machine": describe_machine()}
        write_report(options.report, config, results, lengths=lengths, **{ALL: whole})
        print(
            f"wrote {options.report} and {predictions_path(options.report)}",
            file=sys.stderr,
        )


def _load_modes(options: argparse.Namespace, load_ours: LoadOurs) -> dict[str, LoadSystem]:
    """Returns the loaders of our systems, by the mode's name where one is asked for."""
    load = partial(load_ours, length=options.length, strict=options.strict, device=options.device)
    if options.mode is None:
        return {OURS: partial(load, options.model)}
    if options.mode == BOTH:
        # What a writing model has beside it for picking is the shipped one: no need to load both.
        return {
            "extract": partial(load, None, mode="extract"),
            "abstract": partial(load, options.model, mode="abstract"),
        }
    return {options.mode: partial(load, options.model, mode=options.mode)}


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
        "mode": options.mode,
        "strict": options.strict,
        "device": options.device,
        "baselines": list(options.baselines),
        "budget_words": budgets,
        "rouge": f"rouge-score {version('rouge-score')}, F1, Porter stemmer, sentences of "
        "terraformer.sentence_splitter",
        "near_duplicate": NEAR_DUPLICATE,
        "loop": {"turns": LOOP_TURNS, "tokens": LOOP_TOKENS, "in_a_word": STUTTERS},
        "length_limits": list(LENGTH_LIMITS),
        "bootstrap": {"n_resamples": N_RESAMPLES, "seed": BOOTSTRAP_SEED, "over": "documents"},
        "versions": {name: version(name) for name in ("torch", "numpy", "sentencex")},
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m eval.rouge",
        description="Scores summaries of the papers of a split against their abstracts with ROUGE "
        "F1 (Porter stemmer), with 95 % bootstrap intervals over documents, and measures how they "
        "draw on their source, repeat themselves, state what it does not hold, and choose among "
        "its sections. Tables to stdout, progress to stderr.",
        epilog="Baselines are cut at the mean abstract length of their group in the whole split; "
        "the oracle, which sees the abstract, ends where no sentence raises its score. Compare "
        "systems within one run only. The sections of a written sentence are those of the source "
        "sentence most like it. Seconds are wall-clock time, on a CPU of one thread while as many "
        "papers as --threads says are worked on.",
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
    parser.add_argument(
        "--mode",
        choices=(*MODES, BOTH),
        help="extract picks sentences, abstract writes, both does both on the same papers: what "
        "--model writes, and what the shipped model picks (default: what the model was made for)",
    )
    parser.add_argument(
        "--strict",
        action="store_true",
        help="leave out written sentences with numbers or names that the paper does not hold",
    )
    add_device_argument(parser)
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
