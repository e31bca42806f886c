"""Command `python -m eval.ablation`: what each part of the extractor is worth, and its cost."""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from eval.ablation_examples import Hidden
from eval.ablation_start import pretraining_config, start_from
from eval.command import positive, require_folder_of
from eval.table import describe_machine, format_rows, write_rows
from finetune.command import exit_status
from finetune.tune import tune, validation_papers
from terraformer.checkpoint import CONFIG_FILE, TOKENIZER_FILE, find_checkpoint, load_checkpoint
from terraformer.config import TerraformerConfig
from terraformer.errors import TerraformerError

BATCH_SIZE = 8
_HISTORY, _ROW = "history.json", "row.json"


@dataclass(frozen=True)
class Variant:
    """One change of the extractor, or of its training.

    Attributes:
        what: The change, in words.
        config: Fields of the config that are changed, nested as in its JSON.
        arguments: More words for `finetune.train`.
        hidden: What of the prepared papers is not shown.
        pretraining: Task of `finetune.train` by which the reading of tokens is pretrained.
    """

    what: str
    config: Mapping[str, Any] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()
    hidden: Hidden | None = None
    pretraining: str | None = None


# Steps for each of the extractor's, so that both read about as many tokens: half of its papers'.
_PRETRAINING = {"span-corruption": 2.0, "gap-sentences": 0.5}
_WINDOW = 2048  # tokens that span corruption sees at once
_STACKS = ("token_encoder", "sentence_encoder", "decoder")
_FULL = {"type": "FullAttentionConfig", "n_heads": 4}
_DENSE = {"type": "DenseFFConfig", "d_ff": 256}
VARIANTS: dict[str, Variant] = {
    "whole": Variant("nothing"),
    "full-attention": Variant(
        "full attention for LSH", {name: {"attention": _FULL} for name in _STACKS[:2]}
    ),
    "dense-feed-forward": Variant(
        "dense feed-forward for sparse", {name: {"feed_forward": _DENSE} for name in _STACKS}
    ),
    "no-recurrence": Variant("no SRU", {name: {"sru": None} for name in _STACKS}),
    "no-token-layers": Variant("tokens without context", {"token_encoder": {"n_layers": 0}}),
    "two-token-layers": Variant("a second layer over tokens", {"token_encoder": {"n_layers": 2}}),
    "no-sentence-layers": Variant("no encoder of sentences", {"sentence_encoder": {"n_layers": 0}}),
    "narrow-sentences": Variant("sentence states of 64", {"d_model": 64}),
    "no-average": Variant("the last weights, not their average", {}, ("--average-decay", "0")),
    "no-dropout": Variant("no dropout", {"dropout": 0.0}),
    "one-episode": Variant("one oracle episode a paper for eight", hidden=Hidden(n_episodes=1)),
    "no-section-kind": Variant("no kinds of section", hidden=Hidden("in_.*")),
    "no-places": Variant(
        "no places in document and section",
        hidden=Hidden(
            "document_(?!centroid).*|section_(?!forward|backward).*|sections_left|"
            "n_sections|n_sentences|opens_.*|closes_.*"
        ),
    ),
    "no-features": Variant("no features of sentences", hidden=Hidden(".*")),
    "span-corruption": Variant("pretrained by span corruption", pretraining="span-corruption"),
    "gap-sentences": Variant("pretrained by gap sentences", pretraining="gap-sentences"),
}


def changed(config: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a config's JSON with changes, nested as it is; a new "type" replaces a whole part."""
    result = dict(config)
    for name, value in changes.items():
        part = result.get(name)
        if isinstance(value, Mapping) and isinstance(part, Mapping) and "type" not in value:
            result[name] = changed(part, value)
        else:
            result[name] = value
    return result


def train_variant(
    variant: Variant, base: Path, folder: Path, options: argparse.Namespace
) -> dict[str, Any]:
    """Trains the extractor with one change, from random weights, and tells what came of it.

    Args:
        variant: The change.
        base: Checkpoint whose config and tokenizer are taken.
        folder: Where the run is kept.
        options: Of the command line.
    Returns:
        A row: parameters, processor seconds a paper, losses, and ROUGE on validation with the best
        picking settings.
    Raises:
        TerraformerError: if the training fails.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config = changed(json.loads((base / CONFIG_FILE).read_text()), variant.config)
    (folder / CONFIG_FILE).write_text(json.dumps(config))
    examples = options.examples
    if variant.hidden is not None:
        examples = folder / "examples"
        variant.hidden.write_examples(options.examples, examples)
    n_steps = -(-options.papers // BATCH_SIZE)
    words = [
        *("--task", "extract", "--config", folder / CONFIG_FILE, "--max-steps", n_steps),
        *("--average-decay", 1 - min(1, 4 / n_steps), "--examples", examples),
        *variant.arguments,
    ]
    before = _child_seconds()
    if variant.pretraining is not None:
        words += ["--init", _pretrain(variant.pretraining, config, n_steps, base, folder, options)]
    _train(words, n_steps, base, folder / "model", options)
    seconds = _child_seconds() - before
    history = json.loads((folder / "model" / _HISTORY).read_text())
    model, tokenizer = load_checkpoint(folder / "model")
    if variant.hidden is not None:
        variant.hidden.remove_from(model)
        shutil.rmtree(examples)
    best = tune(model, tokenizer, validation_papers(options.validation, options.data))[0]
    return {
        "name": folder.name,
        "change": variant.what,
        "parameters_m": round(sum(weight.numel() for weight in model.parameters()) / 1e6, 2),
        "cpu_s_per_paper": round(seconds / (n_steps * BATCH_SIZE), 3),
        "mean_loss": round(_last(history, "train_loss"), 3),
        "validation_loss": round(_last(history, "eval_loss"), 3),
        "rouge1": round(best.rouge1, 2),
        "rouge2": round(best.rouge2, 2),
        "words": round(best.words),
        "stop_threshold": best.picking.stop_threshold,
        "redundancy_penalty": best.picking.redundancy_penalty,
    }


def _pretrain(
    task: str,
    config: Mapping[str, Any],
    n_steps: int,
    base: Path,
    folder: Path,
    options: argparse.Namespace,
) -> Path:
    """Pretrains the reading of tokens on the first papers; returns an extractor that starts so."""
    extractor = TerraformerConfig.from_dict(dict(config))
    written = folder / f"{task}.json"
    written.write_text(json.dumps(pretraining_config(extractor).to_dict()))
    words = [
        *("--task", task, "--config", written, "--limit", options.papers, "--window", _WINDOW),
        *("--max-steps", round(n_steps * _PRETRAINING[task]), "--examples", options.examples),
    ]
    _train(words, n_steps, base, folder / task, options)
    start_from(folder / task, extractor, folder / "start")
    return folder / "start"


def _train(
    words: Sequence[object], n_steps: int, base: Path, output: Path, options: argparse.Namespace
) -> None:
    """Runs `finetune.train` with some words, and with what all trainings here share."""
    words = [
        *words,
        *("--tokenizer", base / TOKENIZER_FILE, "--output", output, "--quiet"),
        *("--save-steps", n_steps, "--warmup-steps", n_steps // 10, "--batch-size", BATCH_SIZE),
        *("--threads", torch.get_num_threads()),
        *(("--data", options.data) if options.data else ()),
    ]
    path = output.with_suffix(".log")
    with path.open("w") as log:
        command = [sys.executable, "-m", "finetune.train", *map(str, words)]
        ended = subprocess.run(command, stdout=log, stderr=log)
    if ended.returncode:
        last = path.read_text().splitlines()[-1]
        raise TerraformerError(f"the training of {output} failed, see {path}: {last}")


def _last(history: Sequence[Mapping[str, float]], name: str) -> float:
    return next(row[name] for row in reversed(history) if name in row)


def _child_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status."""
    options = _parser().parse_args(arguments)
    return exit_status("eval.ablation", lambda: _run(options))


def _run(options: argparse.Namespace) -> None:
    require_folder_of(options.report)
    torch.set_num_threads(options.threads)
    base = find_checkpoint(options.model)
    variants = {name: VARIANTS[name] for name in options.variants}
    if options.encoder:
        what = f"embeddings start from {Path(options.encoder).name}"
        variants["pretrained-vectors"] = Variant(what, {}, ("--vectors", options.encoder))
    asked = {
        "model": base.name,
        "papers": options.papers,
        "validation_papers": options.validation,
        "batch_size": BATCH_SIZE,
    }
    rows = []
    for name, variant in variants.items():
        folder = options.runs / f"{name}-{options.papers}"
        row = _done(folder, asked)
        if row is None:
            row = train_variant(variant, base, folder, options)
            (folder / _ROW).write_text(json.dumps([asked, row]) + "\n", encoding="utf-8")
        rows.append(row)
    print(format_rows(rows))
    if options.report:
        write_rows(options.report, asked | describe_machine(), rows=rows)


def _done(folder: Path, asked: Mapping[str, Any]) -> dict[str, Any] | None:
    """Returns the row of an earlier run with the same settings, None if there is none.

    Raises:
        TerraformerError: if the run there was made with others.
    """
    if not (folder / _ROW).exists():
        return None
    settings, row = json.loads((folder / _ROW).read_text(encoding="utf-8"))
    if settings != asked:
        raise TerraformerError(f"{folder} holds a run with {settings}: give another --runs")
    return row


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m eval.ablation",
        description="Trains the extractor on some papers, each time with one change, and compares.",
    )
    add = parser.add_argument
    add("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS), metavar="NAME")
    add("--papers", type=positive, default=3000, metavar="N", help="of training (default: 3000)")
    add(
        "--validation",
        type=positive,
        default=200,
        metavar="N",
        help="papers that ROUGE is taken on (default: 200)",
    )
    add(
        "--encoder",
        metavar="FOLDER_OR_HUB_ID",
        help="try embeddings that start from this encoder of transformers, too",
    )
    add("--model", metavar="NAME_OR_FOLDER", help="checkpoint that is changed (default: shipped)")
    add("--examples", type=Path, default=Path("runs/examples"), help="prepared papers")
    add("--data", metavar="FOLDER", help="of Parquet files (default: TERRAFORMER_DATA)")
    add(
        "--runs",
        type=Path,
        default=Path("runs/ablation"),
        metavar="FOLDER",
        help="where runs are kept; what is done there is not done again (default: runs/ablation)",
    )
    add("--threads", type=positive, default=2, metavar="N", help="(default: 2)")
    add("--report", type=Path, metavar="FILE", help="write the rows there as JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main())
