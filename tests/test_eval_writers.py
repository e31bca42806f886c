"""Models that write, held against one another."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from scored_papers import prediction, result

import eval.step_time
from eval.step_time import measure_steps
from eval.writers import compare, main
from terraformer.checkpoint import load_model
from terraformer.decoding_layers import UncoveredError
from terraformer.encoder_decoder import EncoderDecoder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "papers"
    folder.mkdir()
    text = " ".join(f"The flux of sediment rose with the discharge in case {i}." for i in range(20))
    rows = [
        {
            "id": f"paper-{i}",
            "origin": "plos",
            "title": "Sediment in rivers",
            "abstract": "The flux of sediment rose with the discharge of the river.",
            "sections": [{"heading": "Results", "text": text}],
        }
        for i in range(3)
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "validation.parquet")
    return folder


def test_a_difference_is_taken_paper_by_paper() -> None:
    easy, hard = (
        result(name, "pubmed", 5_000, sparse=prediction(low), dense=prediction(low + 2.0))
        for name, low in (("easy", 30.0), ("hard", 10.0))
    )
    for paper in (easy, hard):
        for summary in paper.systems.values():
            object.__setattr__(summary, "seconds", 1.0)
    sparse, dense = compare(
        [easy, hard], {"sparse": 7_000_000, "dense": 8_000_000}, {"sparse": {}, "dense": {}}
    )
    assert "R2 difference" not in sparse
    assert dense["R2 difference"] == "+2.00 [+2.00, +2.00]"
    assert (sparse["parameters_m"], dense["parameters_m"]) == (7.0, 8.0)
    assert sparse["R2"].startswith("20.0 ± ")


def test_models_write_the_same_papers_with_the_settings_of_the_first(
    data: Path, tmp_path: Path, tiny_writer: Path, tiny_checkpoint: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for file in tiny_writer.iterdir():
        (other / file.name).write_bytes(file.read_bytes())
    values = json.loads((other / "config.json").read_text())
    values["writing"]["max_tokens"] = 25
    (other / "config.json").write_text(json.dumps(values))
    report = tmp_path / "report.json"
    words = ["--data", str(data), "--limit", "2", "--threads", "1", "--rounds", "1"]
    named = [f"first={tiny_writer}", f"second={other}"]
    assert main([*named, *words, "--report", str(report)]) == 0
    told = json.loads(report.read_text())
    first, second = told["rows"]
    assert first["words"] == second["words"]  # 25 tokens would be fewer
    assert second["R1 difference"] == "+0.00 [+0.00, +0.00]"
    assert first["us_per_token_pytorch"] > 0
    assert told["config"]["n_documents"] == 2
    assert main([f"extract={tiny_checkpoint}", *words]) == 1


def test_names_must_differ(tiny_writer: Path) -> None:
    with pytest.raises(SystemExit):
        main([f"one={tiny_writer}", f"one={tiny_writer}"])
    with pytest.raises(SystemExit):
        main([str(tiny_writer)])


def test_steps_are_timed_where_there_is_no_compiled_one(
    tiny_writer: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Missing:
        @classmethod
        def of(cls, *_: object) -> None:
            raise UncoveredError("it was not built")

    monkeypatch.setattr(eval.step_time, "FastDecoder", Missing)
    model, _ = load_model(tiny_writer)
    assert isinstance(model, EncoderDecoder)
    medians = measure_steps({"tiny": model}, torch.arange(3, 23)[None], 1)
    assert list(medians["tiny"]) == ["pytorch"]
    assert "it was not built" in capsys.readouterr().err
