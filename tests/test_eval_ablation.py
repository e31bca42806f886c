from __future__ import annotations

import json
from pathlib import Path

import pytest
from datasets import Dataset

from eval.ablation import VARIANTS, changed, main
from terraformer.build import build_model
from terraformer.checkpoint import load_model
from terraformer.config import model_config_from_dict

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
    same = name in ("whole", "no-average")
    assert (config.to_dict() == shipped) == same
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


def test_a_run_is_trained_once_and_told(
    papers: Path,
    tiny_checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("TERRAFORMER_DATA", str(papers))
    report = tmp_path / "report.json"
    words = ["--variants", "no-sentence-layers", "--papers", "8", "--model", str(tiny_checkpoint)]
    words += ["--examples", str(tmp_path / "examples"), "--runs", str(tmp_path / "runs")]
    words += ["--threads", "1", "--report", str(report)]
    assert main(words) == 0
    (row,) = json.loads(report.read_text())["rows"]
    assert row["cpu_s_per_paper"] > 0
    assert 0 < row["rouge2"] <= row["rouge1"] <= 100
    monkeypatch.setattr("eval.ablation.train_variant", lambda *_: pytest.fail("trained again"))
    assert main(words) == 0
    assert "no encoder of sentences" in capsys.readouterr().out
    assert main([*words, "--validation", "1"]) == 1
    assert "another --runs" in capsys.readouterr().err
