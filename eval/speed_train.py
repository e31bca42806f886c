"""Times of training steps of whole models, ours beside those of transformers."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from tqdm import tqdm

from eval.memory_systems import SYSTEMS, Sizes
from eval.timing import interleave, spread


def measure_train(
    lengths: Sequence[int], baselines: Sequence[str], sizes: Sizes, n_rounds: int
) -> list[dict[str, Any]]:
    """Times a training step (forward, loss, backward) on one document, float32.

    Args:
        lengths: Tokens of the document.
        baselines: Of `SYSTEMS`.
        sizes: Of all models.
        n_rounds: Rounds that are counted; a round is a step of each.
    Returns:
        One row a length and baseline.
    """
    rows = []
    for n_tokens in tqdm(lengths, desc="lengths", file=sys.stderr):
        at_length = replace(sizes, n_source=n_tokens)
        works = {name: SYSTEMS[name](at_length) for name in ("terraformer", *baselines)}
        seconds = interleave({name: work.run for name, work in works.items()}, n_rounds)
        ours = statistics.median(seconds["terraformer"])
        rows += [
            {
                "name": f"train-{n_tokens}-vs-{name}",
                "tokens": n_tokens,
                "dtype": "float32",
                "threads": torch.get_num_threads(),
                **spread("ours", seconds["terraformer"]),
                **spread("baseline", seconds[name]),
                "ratio": round(statistics.median(seconds[name]) / ours, 2),
                "parameters_m": round(works["terraformer"].n_parameters / 1e6, 1),
                "baseline_parameters_m": round(works[name].n_parameters / 1e6, 1),
            }
            for name in baselines
        ]
    return rows
