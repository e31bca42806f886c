from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from packed_papers import shrunk

from finetune.gpu.recipe import RECIPES, Recipe
from finetune.gpu.run import RunOptions, loop_options_of
from finetune.shards import Manifest
from terraformer.build import build_model
from terraformer.config import EncoderDecoderConfig, TerraformerConfig
from terraformer.decoding_model import plan_model
from terraformer.decoding_plan import PlanBuilder
from terraformer.encoder_decoder import EncoderDecoder
from terraformer.errors import TerraformerError
from terraformer.features import N_FEATURES

MANIFEST = Manifest(24576, "", N_FEATURES, ())
MILLIONS = {  # parameters
    "abstract-100m": 96.4,
    "abstract-local-100m": 97.2,
    "abstract-sparse-100m": 96.4,
    "terraformer-100m": 89.8,
    "rewrite-80m": 82.5,
    "extract-large": 24.6,
    "tiny": 1.6,
}


def test_every_shipped_recipe_has_the_size_it_says() -> None:
    assert {path.stem for path in RECIPES.glob("*.json")} == MILLIONS.keys()
    for name, millions in MILLIONS.items():
        with torch.device("meta"):
            model = build_model(Recipe.load(name).config(MANIFEST))
        n_parameters = sum(weight.numel() for weight in model.parameters())
        assert n_parameters / 1e6 == pytest.approx(millions, abs=0.06)


@pytest.mark.parametrize("name", [name for name in MILLIONS if name != "extract-large"])
def test_what_a_recipe_trains_decodes_in_one_call_a_token(name: str) -> None:
    config = shrunk(Recipe.load(name)).config(replace(MANIFEST, vocab_size=64))
    assert isinstance(config, EncoderDecoderConfig)
    model = build_model(config).eval()
    assert isinstance(model, EncoderDecoder)
    plan_model(PlanBuilder(), model)  # raises where a layer has no step


def test_a_file_is_a_recipe_too(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_bytes((RECIPES / "tiny.json").read_bytes())
    assert Recipe.load(str(path)) == Recipe.load("tiny")
    with pytest.raises(TerraformerError, match=r"no recipe 'mine'.*extract-large.*tiny"):
        Recipe.load("mine")


def spoiled(**changes: Any) -> dict[str, Any]:
    values = json.loads((RECIPES / "tiny.json").read_text())
    for name, value in changes.items():
        values["phases"][0][name] = value
    return values


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (spoiled(task="dream"), r"task \('dream'\) must be one of extract"),
        (spoiled(share=0.3), "shares of the phases add up to 1.05"),
        (spoiled(share=0.0), "share .* must be above 0"),
        (spoiled(loop={"steps": 3}), "loop has unknown fields: steps"),
        (spoiled(examples={"windows": 3}), "examples has unknown fields: windows"),
        ({"model": {}}, "phases"),
    ],
)
def test_a_recipe_that_cannot_be_used_says_why(
    values: dict[str, Any], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "bad.json"
    path.write_text(json.dumps(values))
    with pytest.raises(TerraformerError, match=message):
        Recipe.load(str(path))


def test_shards_decide_pieces_and_features() -> None:
    picker = Recipe.load("extract-large").config(replace(MANIFEST, vocab_size=400, n_features=5))
    assert isinstance(picker, TerraformerConfig)
    assert (picker.vocab_size, picker.n_features) == (400, 5)
    with pytest.raises(TerraformerError, match="pack with --extract"):
        Recipe.load("extract-large").config(replace(MANIFEST, n_features=0))


def test_a_model_of_another_kind_is_refused() -> None:
    recipe = Recipe.load("extract-large")
    wrong = replace(recipe, phases=tuple(replace(p, task="abstract") for p in recipe.phases))
    with pytest.raises(TerraformerError, match="trains a EncoderDecoderConfig, not a Terraformer"):
        wrong.config(MANIFEST)
    broken = replace(recipe, model=recipe.model | {"d_model": 385})
    with pytest.raises(TerraformerError, match=r"d_model \(385\) must be divisible"):
        broken.config(MANIFEST)


def test_a_run_overrides_what_it_is_asked_to(tmp_path: Path) -> None:
    phase = Recipe.load("tiny").phases[0]
    options = RunOptions(tmp_path, tmp_path, minutes=3, batch_tokens=77, workers=2, seed=5)
    loop = loop_options_of(phase, options, seconds=12.0)
    assert (loop.seconds, loop.steps, loop.batch_tokens) == (12.0, None, 77)
    assert (loop.workers, loop.seed, loop.learning_rate) == (2, 5, 0.003)
