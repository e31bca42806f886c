"""What steps that read a part of the cache lose of a task that was learnt with all in view."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from eval.learning_member import MEMBERS
from eval.learning_task import Task
from eval.learning_training import accuracy, fresh_batches
from eval.selected_cache import step_logits, variants
from terraformer.attention_config import FullAttentionConfig
from terraformer.fast_decoding import fast_or_plain
from terraformer.language_model import LanguageModel
from terraformer.selected_cache import SelectedCacheConfig

CACHES = {
    "selected": SelectedCacheConfig(),
    "selected, 16 hashes of 64 buckets": SelectedCacheConfig(
        n_hashes=16, n_buckets=64, n_per_bucket=4
    ),
    "selected, 32 hashes": SelectedCacheConfig(n_hashes=32, n_per_bucket=2),
    "selected, 16 hashes, 4 probes": SelectedCacheConfig(n_hashes=16, n_probes=4),
    "selected, 4 hashes": SelectedCacheConfig(n_recent=32, n_hashes=4, n_per_bucket=4),
    "window": variants(SelectedCacheConfig())["window"],
}


def attends_to_all(name: str) -> bool:
    """Returns whether all attention of a member is full, so that selecting changes it."""
    return all(isinstance(config, FullAttentionConfig) for config in MEMBERS[name].attentions)


@torch.no_grad()
def measure_caches(
    model: LanguageModel,
    task: Task,
    length: int,
    n_sequences: int,
    caches: Mapping[str, SelectedCacheConfig] = CACHES,
) -> list[dict[str, Any]]:
    """Measures the accuracy on fresh sequences that steps read token by token.

    Args:
        model: A trained member.
        task: What it was trained for.
        length: Of the sequences.
        n_sequences: As `eval.learning_training.measure` reads them.
        caches: What is read of the caches of full attention, by name.
    Returns:
        A row for full caches and for each of `caches`: the most positions that a step reads, the
        accuracy, and how much less it is than with full caches, with the standard error of the
        difference over the sequences.
    """
    model.eval()
    full = _accuracies(model, task, length, n_sequences, None)
    rows = [_row("full", length, full, full)]
    for name, config in caches.items():
        found = _accuracies(model, task, length, n_sequences, config)
        rows.append(_row(name, config.n_read, found, full))
    return rows


def _accuracies(
    model: LanguageModel,
    task: Task,
    length: int,
    n_sequences: int,
    cache: SelectedCacheConfig | None,
) -> Tensor:
    """Accuracy on each sequence, [n_sequences]."""
    decoder = fast_or_plain(model, cache=cache)
    return torch.tensor(
        [
            accuracy(step_logits(decoder, ids[0])[scored[0]], ids[scored])
            for ids, scored in fresh_batches(task, length, n_sequences)
        ]
    )


def _row(name: str, n_read: int, found: Tensor, full: Tensor) -> dict[str, Any]:
    lost = full - found
    error = float(lost.std() / len(lost) ** 0.5) if len(lost) > 1 else 0.0
    return {
        "cache": name,
        "reads": n_read,
        "accuracy": round(float(found.mean()), 4),
        "lost": round(float(lost.mean()), 4),
        "lost_error": round(error, 4),
    }
