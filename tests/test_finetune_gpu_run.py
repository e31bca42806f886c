from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from packed_papers import carry_papers, shrunk
from safetensors.torch import load_file

from finetune.gpu import job, transfer
from finetune.gpu import run as run_module
from finetune.gpu.__main__ import main
from finetune.gpu.recipe import RECIPES, Recipe
from finetune.gpu.run import RunOptions, train
from finetune.gpu.writer import write_abstracts
from finetune.loop import Loop
from terraformer.checkpoint import load_model
from terraformer.encoder_decoder import EncoderDecoder
from terraformer.errors import CheckpointError, DataError, TerraformerError

ABSENT = "datasets accelerate rouge_score nltk scipy sentencex psutil tqdm gradio pandas".split()
CPU = torch.device("cpu")
LOOP = {"batch_tokens": 300, "bf16": False, "log_steps": 1}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: Path) -> Path:
    return carry_papers(tmp_path_factory.mktemp("carried"), tiny_checkpoint / "tokenizer.model")


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    """File of a recipe with two phases."""
    values = {
        "model": Recipe.load("tiny").model,
        "phases": [
            {"task": "gap-sentences", "share": 0.5, "loop": LOOP, "examples": {}},
            {"task": "abstract", "share": 0.5, "loop": LOOP, "examples": {"max_tokens": 200}},
        ],
    }
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps(values))
    return str(path)


def test_nothing_is_imported_that_a_bare_machine_lacks() -> None:
    program = f"import sys; sys.modules |= dict.fromkeys({ABSENT}); import finetune.gpu.__main__"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_run_goes_there_and_comes_back(
    data: Path, recipe: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, back = tmp_path / "run", tmp_path / "back"
    words = ["--data", str(data), "--output", str(run)]
    assert main(["train", recipe, *words, "--steps", "2", "--workers", "0"]) == 0
    predictions = tmp_path / "sub" / "predictions.jsonl"
    words = ["--data", str(data), "--papers", "4", "--max-tokens", "8"]
    assert main(["evaluate", str(run), str(predictions), *words]) == 0
    rows = [json.loads(line) for line in predictions.read_text().splitlines()]
    assert [row["reference"] for row in rows] == [
        f"River {number} carries sediment." for number in range(4)
    ]
    assert all(0 < row["n_tokens"] <= 8 and row["group"] == "pubmed" for row in rows)
    sizes = ["--part-mib", "0.02", "--parts", "2"]
    capsys.readouterr()
    assert main(["collect", str(run), str(back / "1"), *sizes]) == 0
    n_calls = int(capsys.readouterr().out.split()[-1])
    assert n_calls > 1
    folders = [str(back / str(call)) for call in range(1, n_calls + 1)]
    for call, folder in enumerate(folders[1:], 2):
        assert main(["collect", str(run), folder, "--call", str(call), *sizes]) == 0
    assert max(path.stat().st_size for path in back.glob("*/*.part")) <= 0.02 * 2**20
    assert main(["join", *folders[:-1], str(tmp_path / "joined")]) == 1
    assert "missing of" in capsys.readouterr().err
    assert main(["join", *folders, str(tmp_path / "joined")]) == 0
    history = json.loads((tmp_path / "joined" / "history.json").read_text())
    assert [history[f"phase-{number}"][-1]["step"] for number in (1, 2)] == [2, 2]
    model, _ = load_model(tmp_path / "joined")
    for name, weight in load_file(run / "checkpoint" / "model.safetensors").items():
        torch.testing.assert_close(model.state_dict()[name], weight, rtol=0.01, atol=1e-3)


def test_parts_that_were_changed_are_refused(data: Path, recipe: str, tmp_path: Path) -> None:
    train(Recipe.load(recipe), RunOptions(data, tmp_path / "run", steps=1))
    run, back = tmp_path / "run", tmp_path / "back"
    with pytest.raises(ValueError, match=r"call \(2\) must be between 1 and 1"):
        transfer.collect(run, back, 2, part_mib=15, parts_a_call=4)
    transfer.collect(run, back, 1, part_mib=15, parts_a_call=4)
    part = back / "weights-000.part"
    part.write_bytes(part.read_bytes()[:-1] + b"x")
    with pytest.raises(CheckpointError, match="are not the weights that were sent"):
        transfer.join([back], tmp_path / "joined")
    with pytest.raises(CheckpointError, match="collect brings it first"):
        transfer.join([tmp_path], tmp_path / "joined")


def test_a_run_goes_on_with_the_phase_that_was_stopped(
    data: Path, recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = RunOptions(data, tmp_path / "broken", steps=2)
    whole = train(Recipe.load(recipe), replace(options, output=tmp_path / "whole"))
    begun: list[str] = []

    def run(self: Any) -> None:
        begun.append(self._folder.name)
        if len(begun) == 2:
            raise InterruptedError
        Loop.run(self)

    monkeypatch.setattr(run_module, "Loop", type("Stopped", (Loop,), {"run": run}))
    with pytest.raises(CheckpointError, match="no phase of the run"):
        run_module.last_checkpoint(options.output)
    with pytest.raises(InterruptedError):
        train(Recipe.load(recipe), options)
    assert run_module.last_checkpoint(options.output).parent.name == "phase-1"
    resumed = train(Recipe.load(recipe), options)
    assert begun == ["phase-1", "phase-2", "phase-2"]
    assert run_module.last_checkpoint(options.output) == resumed
    first, other = (load_file(folder / "model.safetensors") for folder in (whole, resumed))
    gap = max((first[name] - other[name]).abs().max().item() for name in first)
    assert gap < 0.05  # the second phase draws other dropout


def test_shards_that_come_later_wait_for_the_next_phase(
    data: Path, recipe: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    values = json.loads((data / "manifest.json").read_text())
    later = [
        shard | {"file": shard["file"].replace("000", "001"), "number": 1}
        for shard in values["shards"]
    ]
    some = tmp_path / "some"
    some.mkdir()
    for path in data.iterdir():
        (some / path.name).write_bytes(path.read_bytes())
    values["shards"] += later
    (some / "manifest.json").write_text(json.dumps(values))
    with caplog.at_level("INFO", "finetune"):
        train(Recipe.load(recipe), RunOptions(some, tmp_path / "run", steps=1))
    assert caplog.text.count("1 of 2 training shards are here") == 2


@pytest.mark.parametrize("name", sorted(path.stem for path in RECIPES.glob("*.json")))
def test_every_recipe_trains_in_bfloat16(name: str, data: Path, tmp_path: Path) -> None:
    small = shrunk(Recipe.load(name))
    phases = (replace(phase, loop=phase.loop | {"bf16": True}) for phase in small.phases)
    small = replace(small, phases=tuple(phases), recompute=name == "terraformer-100m")
    folder = train(small, RunOptions(data, tmp_path / "run", steps=1))
    model, _ = load_model(folder)
    assert all(weight.isfinite().all() for weight in model.parameters())
    if isinstance(model, EncoderDecoder):
        rows = write_abstracts(folder, data, CPU, n_papers=3, batch_tokens=300, max_tokens=4)
        assert [row["id"] for row in rows] == ["x:0", "x:1", "x:2"]


def test_a_run_starts_from_other_weights(
    data: Path,
    recipe: str,
    tiny_checkpoint: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    first = train(Recipe.load(recipe), RunOptions(data, tmp_path / "a", steps=1))
    with caplog.at_level("INFO", "finetune"):
        train(Recipe.load(recipe), RunOptions(data, tmp_path / "b", steps=1, init=str(first)))
    assert "weights start from" in caplog.text
    options = RunOptions(data, tmp_path / "c", steps=1, init=str(tiny_checkpoint))
    with pytest.raises(TerraformerError, match="no weight of"):
        train(Recipe.load(recipe), options)


def test_damaged_shards_and_those_of_other_packs_are_refused(data: Path, tmp_path: Path) -> None:
    pack = data.parent / "pack" / "1"
    copy = tmp_path / "1"
    copy.mkdir()
    for path in pack.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    shard = copy / "articles-train-000.npz"
    shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    with pytest.raises(DataError, match="is damaged: carry it again"):
        transfer.unpack([copy], tmp_path / "data")
    manifest = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps(manifest | {"n_features": 1}))
    with pytest.raises(DataError, match="are of different packs"):
        transfer.unpack([copy], data)


def test_speed_is_measured_before_time_is_spent(
    data: Path, recipe: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--data", str(data), "--batch-tokens", "200", "400", "--steps", "1"]
    assert main(["probe", recipe, *words]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    measured = [(line["task"], line["batch_tokens"]) for line in lines]
    assert measured == [
        ("gap-sentences", 200),
        ("gap-sentences", 400),
        ("abstract", 200),
        ("abstract", 400),
    ]
    assert all(line["tokens_per_s"] > 0 for line in lines)


def test_a_run_outlives_the_command_that_started_it(
    data: Path, recipe: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "run"
    words = ["start", recipe, "--data", str(data), "--output", str(output)]
    assert main(words) == 1
    assert "give --minutes" in capsys.readouterr().err
    assert main([*words, "--steps", "1", "--watch", "0"]) == 0
    assert job.is_running(output)
    with pytest.raises(TerraformerError, match="works in"):
        job.start(output, [])
    assert main(["status", str(output), "--wait", "120", "--tail", "3"]) == 0
    shown = capsys.readouterr().out
    assert "finished: phase-2, progress 1.0, step 1, loss" in shown
    assert f"trained: {output / 'checkpoint'}" in shown
    assert not job.is_running(output)


def test_a_run_that_fails_says_so(data: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    job.start(output, ["no-recipe", "--data", str(data), "--output", str(output), "--steps", "1"])
    job.wait(output, 120)
    assert job.describe(output) == "failed with exit status 1"
    assert "no recipe 'no-recipe'" in job.tail(output, 2)
