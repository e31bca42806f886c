from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rouge_score.rouge_scorer import RougeScorer

from finetune import tune
from terraformer.checkpoint import CONFIG_FILE, load_checkpoint
from terraformer.decoding import Pick
from terraformer.document import Document

LINES = [
    "The otter sleeps under the old willow near the mill.",
    "Herons wait for hours until a small fish comes close.",
    "Salmon climb the weir when autumn rain has raised the river.",
    "Beavers felled three poplars and built a dam of their trunks.",
]
ABSTRACT = "Salmon climb the weir when rain has raised the river, and beavers built a dam."


def test_prefix_scores_are_rouge_of_the_prefixes() -> None:
    document = Document.from_sections([("", "\n".join(LINES))])
    picks = [Pick(sentence, 10, 0.0) for sentence in (2, 0, 3)]
    scores = tune.prefix_scores(picks, document, ABSTRACT)
    scorer = RougeScorer(["rouge1"], use_stemmer=True)
    for count in range(1, 4):
        text = " ".join(LINES[pick.sentence] for pick in picks[:count])
        assert scores[count - 1, 0] == pytest.approx(
            scorer.score(ABSTRACT, text)["rouge1"].fmeasure
        )
    single = RougeScorer(["rouge2"], use_stemmer=True).score(ABSTRACT, LINES[2])["rouge2"]
    # The length counts bigrams within sentences only, so that one sentence scores as it should.
    assert scores[0, 1] == pytest.approx(single.fmeasure)


def test_the_command_writes_the_best_setting(
    tiny_checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "checkpoint"
    shutil.copytree(tiny_checkpoint, folder)
    rows = [
        {
            "id": str(i),
            "origin": origin,
            "title": "",
            "abstract": ABSTRACT,
            "sections": [{"heading": "Results", "text": "\n".join(LINES[i:] + LINES[:i])}],
        }
        for i, origin in enumerate(["elife", "pmlr"])
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "validation.parquet")
    monkeypatch.setattr(tune, "STOP_THRESHOLDS", (0.0, 2.0))
    monkeypatch.setattr(tune, "REDUNDANCY_PENALTIES", (0.0, 1.5))
    monkeypatch.setattr(
        sys, "argv", ["tune", str(folder), "--data", str(tmp_path), "--threads", "1"]
    )
    tune.main()
    best = capsys.readouterr().out.splitlines()[1].split()
    picking = json.loads((folder / CONFIG_FILE).read_text())["picking"]
    assert picking["stop_threshold"] == float(best[0])
    assert picking["redundancy_penalty"] == float(best[1])
    assert picking["findings_bonus"] == float(best[2])
    assert load_checkpoint(folder)[0].config.picking.stop_threshold in (0.0, 2.0)
