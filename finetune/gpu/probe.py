"""How fast a recipe trains here and how much memory it takes, before time is spent on it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from finetune.batch_plan import BatchPlan
from finetune.gpu.recipe import Recipe
from finetune.gpu.run import new_model, usable_shards
from finetune.shard_task import SHARD_TASKS, ShardTask, TaskOptions
from finetune.shards import Manifest

_WARM_UP = 2  # steps, in which memory is taken and kernels are chosen


def probe(
    recipe: Recipe, data: Path, device: torch.device, batch_tokens: Sequence[int], n_steps: int
) -> Iterator[dict[str, Any]]:
    """Trains a few steps of each phase with batches of several sizes.

    Args:
        recipe: Its phases are measured one by one, each with a new model.
        data: Folder of unpacked shards, the first of which is read.
        device: Where to train.
        batch_tokens: Sizes of batches.
        n_steps: Steps that are timed.
    Yields:
        Task and size with "tokens_per_s", real tokens trained on; "make_ms", what one process takes
        to make a batch; and "gib", the most memory that was taken, on a GPU.
    """
    config = recipe.config(Manifest.read(data))
    for phase in recipe.phases:
        kind = SHARD_TASKS[phase.task]
        files = usable_shards(data, kind, "train")[:1]
        task = kind(data, files, config, TaskOptions(**phase.examples))
        for size in batch_tokens:
            objective = task.objective(new_model(config, recipe.recompute, device)).train()
            line: dict[str, Any] = {"task": phase.task, "batch_tokens": size}
            try:
                bf16 = phase.loop.get("bf16", True)
                line |= _measure(objective, task, size, n_steps, device, bf16)
            except torch.OutOfMemoryError:
                line["out_of_memory"] = True
            yield line
            del objective
            if device.type == "cuda":
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats(device)


def _measure(
    objective: nn.Module,
    task: ShardTask,
    batch_tokens: int,
    n_steps: int,
    device: torch.device,
    bf16: bool,
) -> dict[str, Any]:
    optimizer = torch.optim.AdamW(objective.parameters(), 1e-4, fused=device.type == "cuda")
    keys = BatchPlan(task.n_tokens, batch_tokens, 0).after(0, 0)
    before = time.perf_counter()
    batches = [task[next(keys)] for _ in range(_WARM_UP + n_steps)]
    making = (time.perf_counter() - before) / len(batches)
    started = 0.0
    for step, batch in enumerate(batches):
        if step == _WARM_UP:
            _finish(device)
            started = time.perf_counter()
        moved = {name: x.to(device) for name, x in batch.items()}
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            loss = objective(**moved)["loss"]
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    _finish(device)
    seconds = time.perf_counter() - started
    masks = [x for batch in batches[_WARM_UP:] for name, x in batch.items() if "_mask" in name]
    values = {
        "tokens_per_s": round(sum(int(mask.sum()) for mask in masks) / seconds),
        "ms_per_step": round(1000 * seconds / n_steps),
        "make_ms": round(1000 * making, 1),
    }
    if device.type == "cuda":
        values["gib"] = round(torch.cuda.max_memory_allocated(device) / 2**30, 1)
    return values


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
