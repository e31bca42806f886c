"""Command `python -m eval.robustness`: the same paper as clean text, lower-cased and as PDF."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import disable_progress_bars
from tqdm import tqdm

from eval.command import checkpoint_name, command_line, require_folder_of
from eval.evaluation import evaluate, load_terraformer, make_tasks, mean_abstract_words, sample
from eval.metrics import ROUGE_NAMES, confidence_interval
from eval.paper_form import CLEAN, FORMS, find_pdfs, load_forms, summarize_pdfs
from eval.results import DocumentResult, summarize_groups, write_report
from eval.results_rows import loss_rows, measure_rows, rouge_rows
from eval.system_arguments import add_paper_arguments, add_run_arguments, add_system_arguments
from eval.table import format_rows
from finetune.command import exit_status
from finetune.data import GROUPS, find_split
from terraformer.errors import DataError

ALL = "all"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status.

    Args:
        arguments: Words of the command line after the name; None takes those of the process.
    """
    options = _parser().parse_args(arguments)
    command = command_line("eval.robustness", arguments)
    return exit_status("eval.robustness", lambda: _run(options, command))


def _run(options: argparse.Namespace, command: str) -> None:
    require_folder_of(options.report)
    disable_progress_bars()
    torch.set_num_threads(1)
    rows = find_split(options.split, options.data)
    files = find_pdfs(options.pdfs) if options.pdfs else None
    if files is not None:
        places = [place for place, paper in enumerate(rows["id"]) if str(paper) in files]
        rows = rows.select(places)
        if not places:
            raise DataError(f"no paper of the split {options.split} has a PDF in {options.pdfs}")
    tasks = make_tasks(rows, sample(rows["id"], options.limit), mean_abstract_words(rows))
    summaries = summarize_pdfs(
        tasks,
        files,
        model=options.model,
        length=options.length,
        n_processes=min(options.threads, len(tasks)),
    )
    load = partial(load_terraformer, options.model, options.length)
    running = evaluate(tasks, load_forms(load, summaries), min(options.threads, len(tasks)))
    results = list(tqdm(running, total=len(tasks), desc="documents", unit="doc", file=sys.stderr))
    groups, losses = summarize_groups(results), measure_losses(results)
    for shown in (rouge_rows(groups), measure_rows(groups), loss_rows(losses)):
        print(format_rows(shown), end="\n\n")
    if options.report:
        config = {
            "command": command,
            "split": options.split,
            "n_documents": len(tasks),
            "model": checkpoint_name(options.model),
            "length": options.length,
            "pdfs": "of the papers' authors" if files else "set from the papers' text",
        }
        write_report(options.report, config, results, losses=losses)
        print(f"wrote {options.report}", file=sys.stderr)


def measure_losses(results: Sequence[DocumentResult]) -> dict[str, Any]:
    """Returns what other forms of the papers lose against the clean one.

    Returns:
        {group, and "all": {"n", "losses": {form: {metric: points, "<metric>_ci95": [low, high]}}}},
        by a paired bootstrap over documents; groups without documents are left out.
    """
    losses: dict[str, Any] = {}
    for group in (*GROUPS, ALL):
        members = [result for result in results if group in (ALL, result.group)]
        if members:
            forms = {form: _losses(members, form) for form in FORMS if form != CLEAN}
            losses[group] = {"n": len(members), "losses": forms}
    return losses


def _losses(members: Sequence[DocumentResult], form: str) -> dict[str, Any]:
    entry: dict[str, Any] = {}
    for metric in ROUGE_NAMES:
        values = np.array(
            [
                member.systems[CLEAN].scores[metric] - member.systems[form].scores[metric]
                for member in members
            ]
        )
        low, high = confidence_interval(values)
        entry[metric] = round(float(values.mean()), 3)
        entry[f"{metric}_ci95"] = [round(low, 3), round(high, 3)]
    return entry


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m eval.robustness",
        description="Summarizes each paper as clean text, in lower-case letters and as a PDF, and "
        "tells what the other forms lose in ROUGE. PDFs are set from the papers' text, in one or "
        "two columns, with running heads, page and line numbers and hyphenated words, and read by "
        "the command `summarize`. Tables to stdout, progress to stderr.",
    )
    add_paper_arguments(parser)
    add_system_arguments(parser)
    parser.add_argument(
        "--pdfs",
        type=Path,
        metavar="DIR",
        help="take the PDFs of this folder, and only the papers in its index.jsonl (id, file)",
    )
    add_run_arguments(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
