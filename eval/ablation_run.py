"""Trainings of the extractor with one change each, and what comes of them."""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from eval.ablation_start import pretraining_config, start_from
from eval.ablation_variant import Variant, changed
from finetune.task import TASKS
from finetune.tune import tune, validation_papers
from terraformer.checkpoint import CONFIG_FILE, TOKENIZER_FILE, load_checkpoint
from terraformer.config import TerraformerConfig
from terraformer.errors import TerraformerError

BATCH_SIZE = 8
_HISTORY = "history.json"
_CACHE = "HF_DATASETS_CACHE"
# Steps for each of the extractor's, so that all read about as many tokens: half of its papers'.
_PRETRAINING = {"span-corruption": 2.0, "gap-sentences": 0.5, "sentence-order": 2.0}
_WINDOW = 2048  # tokens that a task sees at once which does not see documents whole
_MAX_TOKENS = 8192  # of an article that is: a third of it may be target, whose attention is full


def train_variant(
    variant: Variant, n_papers: int, base: Path, folder: Path, options: argparse.Namespace
) -> dict[str, Any]:
    """Trains the extractor with one change, from random weights, and tells what came of it.

    Args:
        variant: The change.
        n_papers: On how many papers.
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
    n_steps = -(-n_papers // BATCH_SIZE)
    words = [
        *("--task", "extract", "--config", folder / CONFIG_FILE, "--max-steps", n_steps),
        *("--average-decay", 1 - min(1, 4 / n_steps), "--examples", examples),
        *variant.arguments,
    ]
    before = _child_seconds()
    if variant.pretraining is not None:
        words += ["--init", _pretrain(variant.pretraining, config, n_steps, base, folder, options)]
    cache = examples / "cache" if variant.hidden is not None else None
    _train(words, n_steps, base, folder / "model", options, cache)
    seconds = _child_seconds() - before
    history = json.loads((folder / "model" / _HISTORY).read_text())
    model, tokenizer = load_checkpoint(folder / "model")
    if variant.hidden is not None:
        variant.hidden.remove_from(model)
        shutil.rmtree(examples)
    best = tune(model, tokenizer, validation_papers(options.validation, options.data))[0]
    return {
        "name": folder.name,
        "papers": n_papers,
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
    """Pretrains by a task; returns an extractor that starts so."""
    extractor = TerraformerConfig.from_dict(dict(config))
    words = [
        *("--task", task, "--window", _WINDOW, "--examples", options.examples),
        *("--max-steps", round(n_steps * _PRETRAINING[task])),
    ]
    if TASKS[task].config_type is TerraformerConfig:
        words += ["--config", folder / CONFIG_FILE]
        _train(words, n_steps, base, folder / task, options)
        return folder / task
    written = folder / f"{task}.json"
    written.write_text(json.dumps(pretraining_config(extractor).to_dict()))
    # Articles are prepared for this task alone, so no more of them than are read.
    words += ["--config", written, "--limit", n_steps * BATCH_SIZE, "--max-tokens", _MAX_TOKENS]
    _train(words, n_steps, base, folder / task, options)
    start_from(folder / task, extractor, folder / "start")
    return folder / "start"


def _train(
    words: Sequence[object],
    n_steps: int,
    base: Path,
    output: Path,
    options: argparse.Namespace,
    cache: Path | None = None,
) -> None:
    """Runs `finetune.train` with some words, and with what all trainings here share.

    Args:
        words: Of the command line.
        n_steps: Of the extractor's training.
        base: Checkpoint whose tokenizer is taken.
        output: Checkpoint to write; the log is written beside it.
        options: Of this command's line.
        cache: Where the library datasets keeps what it makes of the papers; None is its own folder.
    Raises:
        TerraformerError: if the training fails.
    """
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
        environment = os.environ if cache is None else os.environ | {_CACHE: str(cache)}
        ended = subprocess.run(command, stdout=log, stderr=log, env=environment)
    if ended.returncode:
        last = path.read_text().splitlines()[-1]
        raise TerraformerError(f"the training of {output} failed, see {path}: {last}")


def _last(history: Sequence[Mapping[str, float]], name: str) -> float:
    return next(row[name] for row in reversed(history) if name in row)


def _child_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
