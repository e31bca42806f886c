"""Recipes: a model and the phases of its training, as JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from finetune.loop import LoopOptions
from finetune.shard_task import SHARD_TASKS, TaskOptions
from finetune.shards import Manifest
from terraformer.config import ModelConfig, model_config_from_dict
from terraformer.errors import TerraformerError

RECIPES = Path(__file__).parent / "recipes"
_LOOP_FIELDS = {field.name for field in fields(LoopOptions)} - {"steps", "seconds", "workers"}
_TASK_FIELDS = {field.name for field in fields(TaskOptions)}


@dataclass(frozen=True)
class Phase:
    """One task of a run, with a share of its time.

    Attributes:
        task: One of SHARD_TASKS.
        share: Of the run, in (0, 1].
        loop: Fields of `LoopOptions`.
        examples: Fields of `TaskOptions`.
    """

    task: str
    share: float
    loop: dict[str, Any]
    examples: dict[str, Any]

    def __post_init__(self) -> None:
        if self.task not in SHARD_TASKS:
            raise ValueError(f"task ({self.task!r}) must be one of {', '.join(SHARD_TASKS)}")
        if not 0 < self.share <= 1:
            raise ValueError(f"share ({self.share}) must be above 0 and at most 1")
        for name, known in (("loop", _LOOP_FIELDS), ("examples", _TASK_FIELDS)):
            unknown = set(getattr(self, name)) - known
            if unknown:
                raise ValueError(
                    f"{name} has unknown fields: {', '.join(sorted(unknown))}; known: "
                    f"{', '.join(sorted(known))}"
                )


@dataclass(frozen=True)
class Recipe:
    """What a run trains, and how.

    Attributes:
        model: Config of the model, without what the shards decide: pieces of the tokenizer and
            features of a sentence.
        phases: One after another; their shares add up to 1.
        recompute: Whether reversible layers compute their activations anew: less memory, a third
            more time.
    """

    model: dict[str, Any]
    phases: tuple[Phase, ...]
    recompute: bool = False

    def __post_init__(self) -> None:
        total = sum(phase.share for phase in self.phases)
        if abs(total - 1) > 1e-6:
            raise ValueError(f"the shares of the phases add up to {total:g}, not 1")

    @classmethod
    def load(cls, name_or_file: str) -> Recipe:
        """Loads a recipe by the name of a shipped one, or from a JSON file.

        Raises:
            TerraformerError: if there is none, or it cannot be used.
        """
        path = RECIPES / f"{name_or_file}.json"
        if not path.exists():
            path = Path(name_or_file)
        if not path.is_file():
            known = ", ".join(sorted(recipe.stem for recipe in RECIPES.glob("*.json")))
            raise TerraformerError(
                f"no recipe {name_or_file!r}: give a JSON file, or one of {known}"
            )
        try:
            values = json.loads(path.read_text())
            phases = tuple(Phase(**phase) for phase in values.pop("phases"))
            return cls(phases=phases, **values)
        except (KeyError, TypeError, ValueError) as error:
            raise TerraformerError(f"the recipe {path} cannot be used: {error}") from error

    def config(self, manifest: Manifest) -> ModelConfig:
        """Returns the model's config for the shards of a manifest.

        Raises:
            TerraformerError: if the phases do not train such a model, or the shards lack what they
                need.
        """
        decided: dict[str, Any] = {"vocab_size": manifest.vocab_size}
        if self.model.get("type") == "TerraformerConfig":
            if not manifest.n_features:
                raise TerraformerError("the shards have no sentence features: pack with --extract")
            decided["n_features"] = manifest.n_features
        try:
            config = model_config_from_dict(self.model | decided)
        except (TypeError, ValueError) as error:
            raise TerraformerError(f"the recipe's model cannot be used: {error}") from error
        for phase in self.phases:
            wanted = SHARD_TASKS[phase.task].config_type
            if not isinstance(config, wanted):
                raise TerraformerError(
                    f"the task {phase.task} trains a {wanted.__name__}, not a "
                    f"{type(config).__name__}"
                )
        return config
