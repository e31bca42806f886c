"""A few small papers on their way to another machine; several tests share them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from datasets import Dataset

from finetune.gpu.recipe import Recipe
from finetune.gpu.transfer import unpack
from finetune.pack import PackOptions, folder_of, pack
from finetune.prepare import prepare_missing
from finetune.shards import Form

N_PAPERS = 9


def paper(number: int) -> dict[str, Any]:
    """A paper of `number` + 2 sentences."""
    text = " ".join(
        f"River {number} carries sediment number {i} down to the sea." for i in range(number + 2)
    )
    return {
        "id": f"x:{number}",
        "origin": "plos",
        "title": "Rivers",
        "abstract": f"River {number} carries sediment.",
        "sections": [{"heading": "Results", "text": text}],
    }


def prepare_papers(folder: Path, tokenizer: Path) -> Path:
    """Writes N_PAPERS papers of each split and prepares them; returns where they are."""
    for split in ("train", "validation"):
        rows = Dataset.from_list([paper(number) for number in range(N_PAPERS)])
        rows.to_parquet(folder / f"{split}.parquet")
    examples = folder / "examples"
    forms: list[Form] = ["articles", "extract", "rewrite"]
    for form in forms:
        output = folder_of(examples, form)
        prepare_missing(output, tokenizer, str(folder), n_processes=1, form=form)
    return examples


def carry_papers(folder: Path, tokenizer: Path) -> Path:
    """Prepares, packs and unpacks the papers; returns the folder of their shards."""
    examples = prepare_papers(folder, tokenizer)
    pack(examples, tokenizer, folder / "pack", PackOptions(extract=True, rewrite=True))
    unpack([folder / "pack" / "1"], folder / "data")
    return folder / "data"


def shrunk(recipe: Recipe) -> Recipe:
    """A recipe with a small model of the same layers, and small batches."""
    loop = {"batch_tokens": 600, "log_steps": 1, "validation_batches": 1}
    phases = (replace(phase, loop=phase.loop | loop) for phase in recipe.phases)
    return replace(recipe, model=_small(recipe.model), phases=tuple(phases))


_SMALL = {"d_model": 60, "d_token": 40, "d_ff": 64, "d_lowrank": 8}


def _small(values: Any) -> Any:
    if isinstance(values, list):
        return [_small(value) for value in values]
    if not isinstance(values, dict):
        return values
    return {name: _SMALL.get(name, _small(value)) for name, value in values.items()}
