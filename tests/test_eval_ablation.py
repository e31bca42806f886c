from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset

from eval.ablation import draw_learning, main
from eval.ablation_examples import Hidden
from eval.ablation_run import train_variant
from eval.ablation_variant import VARIANTS, changed
from finetune.prepare import load_examples, prepare_missing
from finetune.tune import Setting
from terraformer.build import build_model
from terraformer.checkpoint import load_checkpoint, load_model
from terraformer.config import PickingConfig, model_config_from_dict
from terraformer.encoder_decoder import EncoderDecoder
from terraformer.features import FEATURE_NAMES
from terraformer.section_kind import SectionKind

ANIMALS = "otter heron salmon beaver mayfly dipper trout eel".split()


def test_changes_go_where_they_belong_and_a_type_replaces_a_part() -> None:
    config = {"a": {"type": "X", "n": 1, "m": 2}, "b": 3}
    assert changed(config, {"a": {"n": 5}}) == {"a": {"type": "X", "n": 5, "m": 2}, "b": 3}
    assert changed(config, {"a": {"type": "Y"}}) == {"a": {"type": "Y"}, "b": 3}
    assert changed(config, {"a": None, "b": 4}) == {"a": None, "b": 4}
    assert config == {"a": {"type": "X", "n": 1, "m": 2}, "b": 3}


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_is_a_model(name: str) -> None:
    shipped = load_model()[0].config.to_dict()
    config = model_config_from_dict(changed(shipped, VARIANTS[name].config))
    assert (config.to_dict() == shipped) == (not VARIANTS[name].config)
    assert sum(weight.numel() for weight in build_model(config).parameters()) > 1e6


@pytest.fixture
def papers(tmp_path: Path) -> Path:
    folder = tmp_path / "papers"
    folder.mkdir()
    rows = [
        {
            "id": animal,
            "origin": "plos",
            "title": animal,
            "abstract": f"The {animal} follows the river number 2 and 3.",
            "sections": [
                {
                    "heading": "Results",
                    "text": " ".join(
                        f"The {animal} follows the river number {n} home." for n in range(6)
                    ),
                }
            ],
        }
        for animal in ANIMALS
    ]
    Dataset.from_list(rows).to_parquet(folder / "train.parquet")
    Dataset.from_list(rows[:2]).to_parquet(folder / "validation.parquet")
    return folder


def rows_of(folder: Path, split: str = "train") -> list[dict[str, Any]]:
    return [dict(row) for row in load_examples(folder / f"{split}.parquet")]  # pyright: ignore


def words_of(papers: Path, tiny_checkpoint: Path, tmp_path: Path, variant: str) -> list[str]:
    words = ["--variants", variant, "--papers", "8", "--model", str(tiny_checkpoint)]
    words += ["--data", str(papers), "--threads", "1"]
    return [*words, "--examples", str(tmp_path / "examples"), "--runs", str(tmp_path / "runs")]


def test_hidden_features_and_episodes_are_not_seen(
    papers: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    examples, edited = tmp_path / "examples", tmp_path / "edited"
    prepare_missing(examples, tiny_checkpoint / "tokenizer.model", str(papers))
    hidden = VARIANTS["no-places"].hidden
    assert hidden is not None
    names = [FEATURE_NAMES[column] for column in hidden.columns]
    assert len(names) == 19
    assert {"document_place", "section_near_end", "n_sections", "opens_section"} <= set(names)
    hidden.write_examples(examples, edited)
    before, after = rows_of(examples), rows_of(edited)
    for old, new in zip(before, after, strict=True):
        old_features, new_features = (
            row["features"].reshape(-1, len(FEATURE_NAMES)) for row in (old, new)
        )
        kept = [i for i, name in enumerate(FEATURE_NAMES) if name not in names]
        assert (new_features[:, hidden.columns] == 0).all()
        assert (new_features[:, kept] == old_features[:, kept]).all()
        assert (old_features[:, hidden.columns] != 0).any()
        assert (new["ids"] == old["ids"]).all()
    fewer = tmp_path / "fewer"
    Hidden(n_episodes=1).write_examples(examples, fewer)
    assert max(len(row["episodes"]) for row in before) > 1
    assert {len(row["episodes"]) for row in rows_of(fewer)} == {1}
    assert max(len(row["episodes"]) for row in rows_of(fewer, "validation")) > 1


def test_a_model_is_blind_to_what_was_hidden(tiny_checkpoint: Path) -> None:
    model, _ = load_checkpoint(tiny_checkpoint)
    features = torch.randn(1, 5, len(FEATURE_NAMES))
    hidden = Hidden("in_.*")
    assert len(hidden.columns) == len(SectionKind)
    without = features.clone()
    without[..., hidden.columns] = 0.0
    expected = model.features(without)
    hidden.remove_from(model)
    assert torch.allclose(model.features(features), expected, atol=1e-6)


def test_the_reading_of_tokens_is_pretrained(
    papers: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    task = "gap-sentences"
    assert main(words_of(papers, tiny_checkpoint, tmp_path, task)) == 0
    folder = tmp_path / "runs" / f"{task}-8"
    taught, _ = load_model(folder / task)
    start, _ = load_checkpoint(folder / "start")
    assert isinstance(taught, EncoderDecoder)
    assert torch.equal(start.embedding.table.weight, taught.embedding.weight)
    weights = taught.encoder.state_dict()
    assert all(torch.equal(weights[k], v) for k, v in start.token_encoder.state_dict().items())


def test_the_whole_extractor_is_pretrained_by_the_order_of_sentences(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainings: list[dict[str, str]] = []

    def train(words: Sequence[object], n_steps: int, base: Path, output: Path, *_: Any) -> None:
        trainings.append(dict(zip(map(str, words[::2]), map(str, words[1::2]), strict=True)))
        shutil.copytree(tiny_checkpoint, output)
        losses = [{"train_loss": 6.0}, {"eval_loss": 5.0}]
        (output / "history.json").write_text(json.dumps(losses))

    monkeypatch.setattr("eval.ablation_run._train", train)
    monkeypatch.setattr("eval.ablation_run.validation_papers", lambda *_: [])
    best = Setting(PickingConfig(), 40.0, 20.0, 180.0)
    monkeypatch.setattr("eval.ablation_run.tune", lambda *_: [best])
    folder = tmp_path / "sentence-order-80"
    options = argparse.Namespace(examples=tmp_path / "examples", data=None, validation=4)
    variant = VARIANTS["sentence-order"]
    row = train_variant(variant, 80, tiny_checkpoint, folder, options)
    order, picking = trainings
    assert (order["--task"], picking["--task"]) == ("sentence-order", "extract")
    assert order["--config"] == picking["--config"] == str(folder / "config.json")
    assert int(order["--max-steps"]) == 2 * int(picking["--max-steps"]) == 20
    assert picking["--init"] == str(folder / "sentence-order")
    assert "--init" not in order
    assert row["validation_loss"] == 5.0


def test_a_run_is_trained_once_and_told(
    papers: Path,
    tiny_checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    report = tmp_path / "report.json"
    words = words_of(papers, tiny_checkpoint, tmp_path, "no-sentence-layers")
    words += ["--report", str(report)]
    assert main(words) == 0
    (row,) = json.loads(report.read_text())["rows"]
    assert (row["papers"], row["name"]) == (8, "no-sentence-layers-8")
    assert row["cpu_s_per_paper"] > 0
    assert 0 < row["rouge2"] <= row["rouge1"] <= 100
    monkeypatch.setattr("eval.ablation.train_variant", lambda *_: pytest.fail("trained again"))
    assert main(words) == 0
    assert "no encoder of sentences" in capsys.readouterr().out
    assert main([*words, "--validation", "1"]) == 1
    assert "another --runs" in capsys.readouterr().err


def test_learning_is_drawn_over_the_papers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Any] = []
    monkeypatch.setattr("eval.ablation.save_panels", lambda _, panels, **__: drawn.extend(panels))
    rows = [
        {
            "change": change,
            "parameters_m": 3,
            "papers": n,
            "rouge2": n / 100,
            "validation_loss": 6,
        }
        for change, n in (("nothing", 4000), ("nothing", 1000), ("narrow", 1000))
    ]
    draw_learning(tmp_path / "curve.svg", rows)
    rouge, loss = drawn
    assert [curve.name for curve in rouge.curves] == ["nothing, 3 M", "narrow, 3 M"]
    assert (rouge.curves[0].x, rouge.curves[0].y) == ((1000, 4000), (10.0, 40.0))
    assert loss.curves[0].y == (6, 6)
