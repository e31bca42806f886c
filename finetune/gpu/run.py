"""The phases of a recipe, one after another, resumed where they were stopped."""

from __future__ import annotations

import json
import logging
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from finetune.distillation import copy_weights
from finetune.gpu.recipe import Phase, Recipe
from finetune.loop import Loop, LoopOptions
from finetune.shard_task import SHARD_TASKS, ShardTask, TaskOptions, present_shards
from finetune.shards import Manifest
from terraformer.build import Model, build_model
from terraformer.checkpoint import TOKENIZER_FILE, load_model, save_checkpoint
from terraformer.config import ModelConfig
from terraformer.errors import CheckpointError, TerraformerError
from terraformer.reversible import ReversibleSequence

CHECKPOINT = "checkpoint"
_FILES_FILE = "shards.json"
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunOptions:
    """What a run is given beside its recipe.

    Attributes:
        data: Folder of unpacked shards.
        output: Folder of the run.
        minutes: Time for all phases together; None where steps decide.
        steps: Steps of each phase; None where the time decides.
        init: Checkpoint to start from: a folder or the name of a shipped one.
        batch_tokens: In place of the recipe's.
        workers: Processes that make batches.
        seed: Of weights, order and draws.
    """

    data: Path
    output: Path
    minutes: float | None = None
    steps: int | None = None
    init: str | None = None
    batch_tokens: int | None = None
    workers: int = 0
    seed: int = 0


def new_device() -> torch.device:
    """Returns the GPU where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def train(recipe: Recipe, options: RunOptions) -> Path:
    """Trains a recipe; returns the folder of the checkpoint.

    Each phase reads the shards that are there when it begins, so that later phases may wait for
    shards that still travel.

    Raises:
        TerraformerError: if recipe and shards do not fit, or there is nothing to train with.
    """
    began = time.monotonic()
    torch.manual_seed(options.seed)
    torch.set_float32_matmul_precision("high")
    manifest = Manifest.read(options.data)
    config = recipe.config(manifest)
    device = new_device()
    model = new_model(config, recipe.recompute, device)
    n_parameters = sum(weight.numel() for weight in model.parameters())
    _LOG.info("%.1f million parameters on %s", n_parameters / 1e6, device)
    if options.init:
        _start(model, options.init)
    done_before = 0.0  # share of the run
    for number, phase in enumerate(recipe.phases, 1):
        folder = options.output / f"phase-{number}"
        done = folder / CHECKPOINT
        if (done / TOKENIZER_FILE).exists():
            model.load_state_dict(load_model(done)[0].state_dict())
            done_before += phase.share
            continue
        _LOG.info("phase %d: %s", number, phase.task)
        train_set, validation = _sets(phase, options, config, folder)
        seconds = None
        if options.minutes is not None:
            # What loading and the phases before took longer is taken from all that are left.
            left = 60 * options.minutes * (1 - done_before) - (time.monotonic() - began)
            shares = sum(each.share for each in recipe.phases[number - 1 :])
            seconds = max(1.0, left * phase.share / shares)
        objective = train_set.objective(model)
        loop_options = loop_options_of(phase, options, seconds)
        Loop(objective, train_set, validation, folder, loop_options, device).run()
        save_checkpoint(done, model, options.data / TOKENIZER_FILE)
    checkpoint = options.output / CHECKPOINT
    save_checkpoint(checkpoint, model, options.data / TOKENIZER_FILE)
    return checkpoint


def last_checkpoint(output: Path) -> Path:
    """Returns the folder of a run's checkpoint: the last one, or that of its last finished phase.

    Raises:
        CheckpointError: if no phase is finished.
    """
    phases = sorted(output.glob(f"phase-*/{CHECKPOINT}"), reverse=True)
    for folder in (output / CHECKPOINT, *phases):
        if (folder / TOKENIZER_FILE).exists():  # written last
            return folder
    raise CheckpointError(f"no phase of the run in {output} is finished")


def new_model(config: ModelConfig, recompute: bool, device: torch.device) -> Model:
    """Returns a new model on a device; `recompute` as in `Recipe`."""
    model = build_model(config).to(device)
    for module in model.modules():
        if isinstance(module, ReversibleSequence):
            module.recompute = recompute
    return model


def loop_options_of(phase: Phase, options: RunOptions, seconds: float | None) -> LoopOptions:
    """Returns how the loop trains a phase, for `seconds` where the time decides."""
    values: dict[str, Any] = {"workers": options.workers, "seed": options.seed, **phase.loop}
    if options.batch_tokens is not None:
        values["batch_tokens"] = options.batch_tokens
    return LoopOptions(**values, steps=options.steps, seconds=seconds)


def _sets(
    phase: Phase, options: RunOptions, config: ModelConfig, folder: Path
) -> tuple[ShardTask, ShardTask]:
    """Returns what a phase trains on and is validated on; a resumed one reads the same shards."""
    task, examples = (
        SHARD_TASKS[phase.task],
        TaskOptions(**{"seed": options.seed, **phase.examples}),
    )
    chosen = folder / _FILES_FILE
    if not chosen.exists():
        folder.mkdir(parents=True, exist_ok=True)
        files = {
            split: usable_shards(options.data, task, split) for split in ("train", "validation")
        }
        chosen.write_text(json.dumps(files))
    files = json.loads(chosen.read_text())
    n_all = len(Manifest.read(options.data).of("articles", "train"))
    if len(files["train"]) < n_all:
        _LOG.warning("%d of %d training shards are here", len(files["train"]), n_all)
    train_set = task(options.data, files["train"], config, examples)
    return train_set, task(options.data, files["validation"], config, examples)


def usable_shards(data: Path, task: type[ShardTask], split: str) -> list[str]:
    """Returns the shards of articles that are there, with those beside them that the task needs."""
    files = present_shards(data, "articles", split)
    if task.form != "articles":
        there = set(present_shards(data, task.form, split))
        files = [file for file in files if file.replace("articles", task.form, 1) in there]
    return files


def _start(model: Model, init: str) -> None:
    n_copied = copy_weights(load_model(init)[0], model)
    if not n_copied:
        raise TerraformerError(f"no weight of {init} fits the recipe's model")
    _LOG.info("%d of %d weights start from %s", n_copied, len(model.state_dict()), init)


def default_workers() -> int:
    """Returns how many processes make batches beside a training: none where cores are few."""
    return min(8, (os.cpu_count() or 1) - 1) if torch.cuda.is_available() else 0
