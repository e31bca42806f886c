"""Command `python -m eval.writers`: models that write, such as a sparse and a dense one, compared.

They write summaries of the same papers with the same settings, and their decoding steps are timed
in turn.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from datasets import Dataset, disable_progress_bars
from tqdm import tqdm

from eval.command import checkpoint_name, command_line, positive, require_folder_of
from eval.evaluation import evaluate, load_terraformer, make_tasks, mean_abstract_words, sample
from eval.metrics import confidence_interval
from eval.results import DocumentResult, summarize
from eval.results_rows import MEASURE_HEADINGS, ROUGE_HEADINGS, plain, with_interval
from eval.step_time import measure_steps
from eval.system_arguments import add_paper_arguments, add_run_arguments, n_processes
from eval.table import describe_machine, format_rows, write_rows
from finetune.command import exit_status
from finetune.data import find_split, to_document
from terraformer.checkpoint import load_checkpoint, load_model
from terraformer.encoder_decoder import EncoderDecoder
from terraformer.errors import CheckpointError, DataError
from terraformer.extractor import Extractor
from terraformer.tokenizer import Tokenizer
from terraformer.writer import Writer

_ROUGE = ("rouge1", "rouge2", "rougeLsum")
_FAITHFULNESS = ("unsupported_numbers", "unsupported_names")
_LOADED = dict[str, tuple[EncoderDecoder, Tokenizer]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    models = dict(options.models)
    if len(models) < len(options.models):
        parser.error("models must have different names")
    command = command_line("eval.writers", arguments)
    return exit_status("eval.writers", lambda: _run(options, models, command))


def _run(options: argparse.Namespace, models: Mapping[str, str], command: str) -> None:
    require_folder_of(options.report)
    disable_progress_bars()
    torch.set_num_threads(1)
    loaded = {name: _load(folder) for name, folder in models.items()}
    first = next(iter(loaded.values()))[0]
    writing = first.config.writing
    papers = find_split(options.split, options.data)
    places = sample(papers["id"], options.limit)
    if not places:
        raise DataError(f"the split {options.split} holds no papers: give another --data")
    micros = _measure_steps(loaded, papers, places[0], options.rounds)
    loaders = {
        name: partial(load_terraformer, folder, "normal", "abstract", writing=writing)
        for name, folder in models.items()
    }
    tasks = make_tasks(papers, places, mean_abstract_words(papers))
    running = evaluate(tasks, loaders, n_processes(options, len(tasks)))
    results = list(tqdm(running, total=len(tasks), desc="documents", unit="doc", file=sys.stderr))
    sizes = {name: _size(model) for name, (model, _) in loaded.items()}
    rows = compare(results, sizes, micros)
    print(format_rows(rows))
    print(
        "± is half of the 95 % interval's width; differences are from the first model, with their "
        f"paired interval. Steps: medians of {options.rounds} rounds, one thread."
    )
    if options.report:
        config = {
            "command": command,
            "split": options.split,
            "n_documents": len(tasks),
            "models": {name: checkpoint_name(folder) for name, folder in models.items()},
            "writing": first.config.to_dict()["writing"],
            "rounds": options.rounds,
        }
        write_rows(options.report, config | describe_machine(), rows=rows)


def compare(
    results: Sequence[DocumentResult],
    sizes: Mapping[str, int],
    micros: Mapping[str, Mapping[str, float]],
) -> list[dict[str, Any]]:
    """Returns a row a model.

    Args:
        results: Summaries of all models, by the names in `sizes`.
        sizes: Parameters of each; the first is the one that the others are compared with.
        micros: What `measure_steps` returns.
    Returns:
        Parameters; ROUGE F1 in percent; its difference from the first model's, with the 95 %
        interval of a paired bootstrap; what was made up; loops; seconds a paper; microseconds a
        token.
    """
    whole = summarize(results)["systems"]
    reference = next(iter(sizes))
    rows = []
    for name, size in sizes.items():
        scores = whole[name]
        row: dict[str, Any] = {"model": name, "parameters_m": round(size / 1e6, 2)}
        for metric in (*_ROUGE, "words"):
            row[ROUGE_HEADINGS[metric]] = with_interval(scores[metric], scores[f"{metric}_ci95"])
        for metric in _ROUGE if name != reference else ():
            row[f"{ROUGE_HEADINGS[metric]} difference"] = _difference(
                results, metric, name, reference
            )
        row |= {MEASURE_HEADINGS[part]: plain(scores[part], 1) for part in _FAITHFULNESS}
        row |= {"loops": scores["loops"], "s_per_paper": scores["seconds"]}
        row |= {f"us_per_token_{kind}": round(value) for kind, value in micros[name].items()}
        rows.append(row)
    return rows


def _difference(results: Sequence[DocumentResult], metric: str, name: str, reference: str) -> str:
    differences = np.array(
        [
            result.systems[name].scores[metric] - result.systems[reference].scores[metric]
            for result in results
        ]
    )
    low, high = confidence_interval(differences)
    return f"{differences.mean():+.2f} [{low:+.2f}, {high:+.2f}]"


def _measure_steps(
    loaded: _LOADED, papers: Dataset, place: int, n_rounds: int
) -> dict[str, dict[str, float]]:
    """Times steps on a paper's text, which all models read as the first is used to."""
    model, tokenizer = next(iter(loaded.values()))
    writer = Writer(model, tokenizer, lambda: Extractor(*load_checkpoint()))
    source = writer.source(to_document(papers[place]), model.config.writing).ids
    return measure_steps({name: model for name, (model, _) in loaded.items()}, source, n_rounds)


def _load(folder: str) -> tuple[EncoderDecoder, Tokenizer]:
    model, tokenizer = load_model(folder)
    if not isinstance(model, EncoderDecoder):
        raise CheckpointError(
            f"{folder} holds a {type(model).__name__}, which does not write: give a model that "
            "finetune.train made with --task rewrite or abstract"
        )
    return model, tokenizer


def _size(model: EncoderDecoder) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def _named(text: str) -> tuple[str, str]:
    name, _, folder = text.partition("=")
    if not (name and folder):
        raise argparse.ArgumentTypeError(f"{text!r} must be NAME=NAME_OR_FOLDER")
    return name, folder


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m eval.writers",
        description="Scores what models write of the same papers, all with the first one's "
        "settings of writing, and times their decoding steps in turn: a table to stdout, progress "
        "to stderr.",
    )
    parser.add_argument(
        "models",
        type=_named,
        nargs="+",
        metavar="NAME=NAME_OR_FOLDER",
        help="a name for the table, and a checkpoint; the others are compared with the first",
    )
    add_paper_arguments(parser)
    parser.set_defaults(split="validation", limit=100, device="cpu")
    parser.add_argument(
        "--rounds",
        type=positive,
        default=30,
        metavar="N",
        help="rounds of steps that are timed (default: %(default)s)",
    )
    add_run_arguments(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
