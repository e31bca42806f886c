"""The command `python -m eval.rouge`, with baselines in place of the model."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from eval.baselines import Prediction
from eval.evaluation import System, evaluate, load_baseline, make_tasks, mean_abstract_words, sample
from eval.measures import COUNTS, MEANS, MEASURES, RATES
from eval.metrics import score_summary
from eval.rouge import main
from finetune.data import find_split, to_document
from terraformer.document import Document
from terraformer.errors import CheckpointError

SHARED = Path(__file__).parents[1] / os.environ.get("TERRAFORMER_DATA", "../shared/data")
ORIGINS = ["pmc_clinical", "plos", "sumpubmed", "neurips2025", "acl_scisumm"]
GROUPS = {"pubmed": 4, "sumpubmed": 2, "arxiv": 2, "other": 2}  # of ten papers


def paper(index: int) -> dict[str, Any]:
    rng = np.random.default_rng(index)
    words = [f"{a}{b}t" for a in "bdfgklmnprst" for b in ("ala", "eno", "iro")]
    sentences = [" ".join(rng.choice(words, 9)).capitalize() + "." for _ in range(24)]
    return {
        "id": f"paper-{index}",
        "source": "pubmed",
        "origin": ORIGINS[index % len(ORIGINS)],
        "licence": "CC BY",
        "title": f"On {words[index]}",
        "abstract": f"{sentences[9]} {sentences[17]} {' '.join(sentences[4].split()[:5])}.",
        "sections": [
            {"heading": "Introduction", "text": " ".join(sentences[:8])},
            {"heading": "Results", "text": " ".join(sentences[8:16])},
            {"heading": "Conclusion", "text": " ".join(sentences[16:])},
        ],
    }


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "papers"
    folder.mkdir()
    pq.write_table(pa.Table.from_pylist([paper(i) for i in range(10)]), folder / "test-0.parquet")
    return folder


def load_second_section(model: str | None, **_: object) -> System:
    """A system that takes the results' first two sentences, whatever the budget."""

    def summarize(document: Document, budget_words: int, reference: str) -> Prediction:
        picks = [i for i, s in enumerate(document.sentences) if s.section == 1][:2]
        return Prediction(" ".join(document.sentences[i].text for i in picks), tuple(picks))

    return summarize


def run(data: Path, *words: str) -> int:
    arguments = ["--data", str(data), "--threads", "1", *words]
    return main(arguments, load_ours=load_second_section)


def test_report_has_the_promised_structure(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "report.json"
    assert run(data, "--baselines", "lead,lexrank,oracle", "--report", str(report)) == 0
    values = json.loads(report.read_text())
    assert list(values) == ["config", "commit", "groups", "lengths", "all"]
    assert values["config"]["command"].startswith("python -m eval.rouge --data papers --threads 1")
    assert {group: entry["n"] for group, entry in values["groups"].items()} == GROUPS
    for entry in values["groups"].values():
        assert list(entry["systems"]) == ["terraformer", "lead", "lexrank", "oracle"]
        for scores in entry["systems"].values():
            assert set(scores) == {*MEASURES, *(f"{name}_ci95" for name in MEASURES), *COUNTS}
            for name in MEANS:
                low, high = scores[f"{name}_ci95"]
                assert low <= scores[name] <= high
            assert [scores[name] for name in RATES] == [None, None, 0]  # there are only sentences
            assert scores["coverage"] == 100
        assert entry["reference"]["rouge2"] == 100
        assert list(entry["share_of_gap"]) == ["terraformer", "lead"]
        sections = entry["sections"]
        assert sections["source"]["introduction"] == pytest.approx(100 / 3, abs=0.1)
        assert sections["systems"]["terraformer"]["results"] == 100
        assert sections["systems"]["lead"]["introduction"] == 100
    assert values["lengths"]["sumpubmed"]["< 4k"]["n"] == GROUPS["sumpubmed"]
    assert values["lengths"]["pubmed, arxiv, other"]["< 4k"]["n"] == 8
    assert values["config"]["baselines"] == ["lead", "lexrank", "oracle"]
    assert str(tmp_path) not in report.read_text()

    output = capsys.readouterr()
    assert "sumpubmed" in output.out
    assert "share of gap" in output.out
    assert "methods + results" in output.out
    assert "documents: 100%" in output.err


def test_predictions_are_beside_the_report_and_give_its_means(data: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    assert run(data, "--baselines", "lead", "--report", str(report)) == 0
    groups = json.loads(report.read_text())["groups"]
    lines = [json.loads(line) for line in report.with_suffix(".jsonl").open()]
    rows = {f"paper-{i}": paper(i) for i in range(10)}
    assert [line["id"] for line in lines] == list(rows)
    for group, entry in groups.items():
        for name, scores in entry["systems"].items():
            rouge2 = [
                score_summary(line["systems"][name]["text"], rows[line["id"]]["abstract"])["rouge2"]
                for line in lines
                if line["group"] == group
            ]
            assert scores["rouge2"] == pytest.approx(np.mean(rouge2), abs=1e-3)
    for line in lines:
        document = to_document(rows[line["id"]])
        ours = line["systems"]["terraformer"]
        assert ours["text"] == " ".join(document.sentences[i].text for i in ours["sentences"])
        assert document.text not in json.dumps(line)


def test_budgets_come_from_the_whole_split(data: Path, tmp_path: Path) -> None:
    rows = find_split("test", data)
    budgets = mean_abstract_words(rows)
    assert budgets == dict.fromkeys(GROUPS, 23)
    report = tmp_path / "report.json"
    assert run(data, "--limit", "1", "--baselines", "lead", "--report", str(report)) == 0
    values = json.loads(report.read_text())
    assert values["config"]["budget_words"] == budgets
    ((_, entry),) = values["groups"].items()
    assert entry["systems"]["lead"]["words"] == 23


def test_the_real_summarizer_runs(data: Path, tmp_path: Path, tiny_checkpoint: Path) -> None:
    reports = [tmp_path / "first.json", tmp_path / "second.json"]
    for report in reports:
        words = ["--model", str(tiny_checkpoint), "--length", "20", "--report", str(report)]
        assert main(["--data", str(data), "--threads", "1", *words]) == 0
    values, others = (json.loads(report.read_text()) for report in reports)
    # Only the name of the report differs, and what the machine was doing beside.
    assert values["config"].pop("command") != others["config"].pop("command")
    for report in (values, others):
        assert report["config"].pop("machine")["threads"] == 1
        for entry in (report["all"], *report["groups"].values()):
            assert entry["systems"]["terraformer"].pop("seconds") >= 0
        for buckets in report["lengths"].values():
            for entry in buckets.values():
                assert entry["systems"]["terraformer"].pop("seconds") >= 0
    assert values == others
    assert values["config"]["model"] == tiny_checkpoint.name
    for line in map(json.loads, reports[0].with_suffix(".jsonl").open()):
        ours = line["systems"]["terraformer"]
        assert 9 <= len(ours["text"].split()) <= 31
        assert ours["sentences"] == sorted(ours["sentences"])


WRITTEN = (
    "The flux of sediment rose with the discharge of the river. "
    "It fell by 75.5 percent in Zurich. We measured the turbidity at every station."
)


def test_both_modes_are_run_on_the_same_papers(
    data: Path,
    tmp_path: Path,
    tiny_writer: Path,
    recite: Callable[[str], Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    recite(WRITTEN)
    report = tmp_path / "report.json"
    words = ["--data", str(data), "--threads", "1", "--limit", "2", "--report", str(report)]
    assert main([*words, "--mode", "both", "--model", str(tiny_writer)]) == 0
    values = json.loads(report.read_text())
    assert (values["config"]["mode"], values["config"]["strict"]) == ("both", False)
    systems = values["all"]["systems"]
    assert list(systems) == ["extract", "abstract"]
    assert systems["extract"]["unsupported_sentences"] == 0
    written = systems["abstract"]
    assert (written["numbers"], written["names"], written["sentences"]) == (2, 2, 6)
    assert (written["unsupported_numbers"], written["unsupported_names"]) == (100, 100)
    assert written["unsupported_sentences"] == pytest.approx(100 / 3, abs=1e-3)
    assert written["novel_unigrams"] == 100
    assert written["seconds"] > 0
    for line in map(json.loads, report.with_suffix(".jsonl").open()):
        assert line["title"] == paper(int(line["id"].split("-")[1]))["title"]
        assert line["systems"]["abstract"]["text"] == WRITTEN
        assert line["systems"]["abstract"]["unsupported"] == ["75.5", "Zurich"]
        assert line["systems"]["extract"]["text"] != WRITTEN
    told = "abstract: 100.0 % [100.0, 100.0] of 2 numbers and 100.0 % [100.0, 100.0] of 2 names"
    assert told in capsys.readouterr().out


def test_strict_summaries_hold_nothing_unsupported(
    data: Path, tmp_path: Path, tiny_writer: Path, recite: Callable[[str], Any]
) -> None:
    recite(WRITTEN)
    report = tmp_path / "report.json"
    words = ["--data", str(data), "--threads", "1", "--limit", "1", "--report", str(report)]
    assert main([*words, "--mode", "abstract", "--strict", "--model", str(tiny_writer)]) == 0
    systems = json.loads(report.read_text())["all"]["systems"]
    assert list(systems) == ["abstract"]
    assert (systems["abstract"]["sentences"], systems["abstract"]["numbers"]) == (2, 0)


def test_a_model_that_picks_does_not_write(
    data: Path, tiny_checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--data", str(data), "--threads", "1", "--mode", "abstract"]
    assert main([*words, "--model", str(tiny_checkpoint)]) == 1
    assert "picks sentences and does not write" in capsys.readouterr().err


def test_limit_takes_the_same_papers_whatever_their_order() -> None:
    ids = [f"paper-{i}" for i in range(50)]
    few = {ids[place] for place in sample(ids, 10)}
    more = {ids[place] for place in sample(ids, 20)}
    turned = ids[::-1]
    assert len(few) == 10
    assert few < more
    assert {turned[place] for place in sample(turned, 10)} == few
    assert sample(ids, 10) == sorted(sample(ids, 10))
    assert few != set(ids[:10])
    assert sample(ids, 50) == sample(ids, 99) == sample(ids, None) == list(range(50))


def test_processes_give_the_results_of_one(data: Path) -> None:
    rows = find_split("test", data)
    tasks = make_tasks(rows, range(4), mean_abstract_words(rows))
    loaders = {name: partial(load_baseline, name) for name in ("lexrank", "oracle")}
    assert list(evaluate(tasks, loaders, 2)) == list(evaluate(tasks, loaders, 1))


def load_nothing(model: str | None, **_: object) -> System:
    raise CheckpointError(f"no checkpoint {model}: give a folder")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model", "gone"], "no checkpoint gone"),
        (["--split", "train"], "no train*.parquet"),
        (["--report", "missing-folder/report.json"], "missing-folder"),
    ],
)
def test_errors_are_one_line(
    data: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--data", str(data), "--threads", "1", *words], load_ours=load_nothing) == 1
    output = capsys.readouterr()
    last = output.err.strip().splitlines()[-1]
    assert last.startswith("eval.rouge: ")
    assert message in last
    assert "Traceback" not in output.err
    assert output.out == ""


def test_an_error_names_the_document(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty = paper(0) | {"id": "hollow", "sections": [{"heading": "Introduction", "text": " "}]}
    pq.write_table(pa.Table.from_pylist([empty]), tmp_path / "test.parquet")
    assert run(tmp_path) == 1
    assert "eval.rouge: document hollow: the document holds no text" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["--limit", "0"],
        ["--limit", "few"],
        ["--baselines", "lead,best"],
        ["--length", "huge"],
        ["--mode", "rewrite"],
        ["--threads", "-1"],
        ["--report", "predictions.jsonl"],
    ],
    ids=" ".join,
)
def test_wrong_usage_exits_with_2(words: list[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 2


@pytest.mark.skipif(
    not (SHARED / "test.parquet").exists(), reason="TERRAFORMER_DATA holds no test.parquet"
)
def test_baselines_reach_their_known_figures(tmp_path: Path) -> None:
    """Frozen: if these means over 22 papers move, no figure compares with an earlier one."""
    report = tmp_path / "report.json"
    words = ["--limit", "40", "--baselines", "all", "--report", str(report)]
    assert run(SHARED, *words) == 0
    systems = json.loads(report.read_text())["groups"]["sumpubmed"]["systems"]
    rouge2 = {name: systems[name]["rouge2"] for name in systems if name != "terraformer"}
    known = {"lead": 12.7, "lexrank": 14.1, "hiporank": 18.2, "conclusion": 17.7, "oracle": 32.5}
    assert rouge2 == pytest.approx(known, abs=0.3)
