"""The command `python -m eval.report`, from reports to a page."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from scored_papers import prediction, result

from eval.measures import ScoredPrediction
from eval.report import main
from eval.report_plot import section_differences
from eval.results import summarize, summarize_lengths, write_report
from eval.robustness import measure_losses
from eval.table import write_rows

CONFIG = {
    "command": "python -m eval.rouge --split test --limit 2",
    "split": "test",
    "n_documents": 2,
    "rouge": "rouge-score",
    "near_duplicate": 0.55,
}


@pytest.fixture
def reports(tmp_path: Path) -> Path:
    systems = {
        "terraformer": prediction(22.25, {"results": 1, "introduction": 1}),
        "lexrank": prediction(16, {"introduction": 2}),
        "oracle": prediction(34, {"methods": 1, "results": 1}),
    }
    papers = [result("a", "pubmed", 3000, **systems), result("b", "sumpubmed", 9000, **systems)]
    write_report(tmp_path / "rouge.json", CONFIG, papers, lengths=summarize_lengths(papers))
    forms = [
        result(
            name,
            "pubmed",
            3000,
            clean=prediction(20, rouge1=50),
            lower=prediction(20, rouge1=49.5),
            pdf=prediction(19, rouge1=47.25),
        )
        for name in "ab"
    ]
    config = CONFIG | {"command": "python -m eval.robustness", "pdfs": "set from the papers' text"}
    write_report(tmp_path / "pdf.json", config, forms, losses=measure_losses(forms))
    write_rows(tmp_path / "speed-decode.json", {}, rows=[{"name": "a|b", "ms": 1.5, "all": [1]}])
    (tmp_path / "extract").mkdir()
    history = [{"step": 1, "loss": 3.0}, {"step": 2, "loss": 2.0}, {"step": 2, "eval_loss": 2.5}]
    (tmp_path / "extract" / "history.json").write_text(json.dumps(history))
    return tmp_path


def run(folder: Path, *words: str) -> int:
    return main([str(folder / "results.md"), "--rouge", str(folder / "rouge.json"), *words])


def test_the_page_holds_all_reports(reports: Path) -> None:
    words = [
        "--robustness",
        str(reports / "pdf.json"),
        "--rows",
        str(reports / "speed-decode.json"),
    ]
    words += ["--history", str(reports / "extract" / "history.json"), "--plot"]
    assert run(reports, *words) == 0
    page = (reports / "results.md").read_text()
    assert re.search(r"\| pubmed \| 1 \| terraformer \|.*\| 22\.2 ± 0\.0 \|.*0\.35 \[", page)
    assert "| sumpubmed | 8k–16k | 1 | terraformer |" in page
    assert re.search(r"\| pubmed \| 2 \| pdf \| 2\.8 ± 0\.0 \| 1\.0 ± 0\.0", page)
    assert re.search(r"\| all \| 2 \| lower \| 0\.5 ± 0\.0", page)
    assert "| a\\|b | 1.5 |" in page
    assert "`python -m eval.rouge --split test --limit 2`" in page
    assert str(reports) not in page
    plots = re.findall(r"!\[.+\]\((.+)\)", page)
    assert plots == [
        f"results-{name}.svg" for name in ("rouge", "lengths", "sections", "robustness", "history")
    ]
    for plot in plots:
        assert "<svg" in (reports / plot).read_text()
    # The same reports give the same bytes.
    before = [(reports / name).read_bytes() for name in ("results.md", *plots)]
    assert run(reports, *words) == 0
    assert [(reports / name).read_bytes() for name in ("results.md", *plots)] == before


@pytest.fixture
def abstract(reports: Path) -> Path:
    """Adds a report of both modes on nine papers, and one of an example."""

    def written(score: float) -> ScoredPrediction:
        made_up = prediction(score, numbers=2, unsupported_numbers=1)
        return replace(made_up, text=f"Wrote {score:.0f}*.", unsupported=("75.5", "Zurich"))

    picked = replace(prediction(20.0), text="Picked [1].", seconds=0.5)
    papers = [
        result(f"paper-{i}", "pubmed", 3000, extract=picked, abstract=written(10.0 + i * i))
        for i in range(9)
    ]
    config = CONFIG | {
        "command": "python -m eval.rouge --mode both",
        "model": "writer",
        "strict": False,
        "device": "cpu",
        "papers_at_once": 2,
        "n_documents": 9,
        "loop": {"turns": 3, "tokens": 8, "in_a_word": 8},
    }
    pooled = {"lengths": summarize_lengths(papers), "all": summarize(papers)}
    write_report(reports / "abstract.json", config, papers, **pooled)
    own = {"extract": asdict(picked), "abstract": asdict(written(5.0))}
    rows = [{"id": "report.txt", "title": "Our own_paper", "systems": own}]
    write_rows(reports / "own.json", {"command": "python -m eval.example"}, examples=rows)
    return reports


def test_modes_stand_side_by_side_with_the_papers_that_may_be_shown(abstract: Path) -> None:
    words = ["--abstract", str(abstract / "abstract.json"), "--shown", str(abstract / "own.json")]
    assert run(abstract, *words) == 0
    page = (abstract / "results.md").read_text()
    assert "9 papers of the test split, each summarized in both modes" in page
    assert "abstract: 50.0 % [50.0, 50.0] of 18 numbers are not in the paper" in page
    assert re.search(r"\| all \| 9 \| abstract \|.* 50\.0 ± 0\.0 \|", page)
    assert re.search(r"\| pubmed, arxiv, other \| < 4k \| 9 \| extract \|", page)
    assert "| pubmed | (abstract) |" in page
    assert "### Our own\\_paper" in page
    assert "> Wrote 5\\*." in page
    assert "> Picked \\[1\\]." in page
    assert "Not in the paper: 75.5, Zurich." in page
    assert "| own.json | `python -m eval.example` |" in page
    assert "paper-" not in page  # nothing of the data set's papers


def test_five_papers_from_best_to_worst_stand_in_a_file_of_their_own(abstract: Path) -> None:
    words = ["--abstract", str(abstract / "abstract.json")]
    assert run(abstract, *words, "--examples", str(abstract / "examples.md")) == 0
    page = (abstract / "examples.md").read_text()
    # Scores are 10, 11, 14, 19, 26, 35, 46, 59 and 74.
    assert re.findall(r"> Wrote (\d+)", page) == ["74", "46", "26", "14", "10"]
    assert re.findall(r"### (.+): On paper-(\d)", page) == [
        ("Best", "8"),
        ("Upper quartile", "6"),
        ("Median", "4"),
        ("Lower quartile", "2"),
        ("Worst", "0"),
    ]
    assert page.count("> Picked") == 5
    assert page.count("| 1 of 2 |") == 5
    assert "Wrote" not in (abstract / "results.md").read_text()


def test_examples_need_the_predictions(abstract: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (abstract / "abstract.jsonl").unlink()
    words = ["--abstract", str(abstract / "abstract.json")]
    assert run(abstract, *words, "--examples", str(abstract / "examples.md")) == 1
    assert "abstract.jsonl is missing" in capsys.readouterr().err
    assert not (abstract / "results.md").exists()


@pytest.mark.parametrize("words", [["--shown", "own.json"], ["--examples", "examples.md"]])
def test_examples_go_with_a_report_of_both_modes(reports: Path, words: list[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        run(reports, *words)
    assert stop.value.code == 2


def test_sections_are_compared_with_the_oracle_where_picks_are_known(reports: Path) -> None:
    groups = json.loads((reports / "rouge.json").read_text())["groups"]
    differences = section_differences(groups)
    assert list(differences) == ["pubmed", "sumpubmed"]
    assert differences["pubmed"]["introduction"] == 50
    assert differences["pubmed"]["methods"] == -50
    assert differences["pubmed"]["results"] == 0
    del groups["pubmed"]["sections"]["systems"]["terraformer"]
    del groups["sumpubmed"]["sections"]["systems"]["oracle"]
    assert section_differences(groups) == {}


def test_without_plots_there_are_no_pictures(reports: Path) -> None:
    assert run(reports) == 0
    assert "![" not in (reports / "results.md").read_text()
    assert not list(reports.glob("*.svg"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--rouge", "speed-decode.json"], "speed-decode.json lacks groups, lengths"),
        (["--abstract", "rouge.json"], "rouge.json lacks all"),
        (["--robustness", "rouge.json"], "rouge.json lacks losses"),
        (["--rows", "extract/history.json"], "holds no JSON object"),
        (["--history", "rouge.json"], "no history.json"),
        (["--rows", "rouge.json"], "holds no rows"),
        (["--rouge", "rouge.jsonl"], "no JSON file"),
        (["--rouge", "gone.json"], "gone.json"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_other_files_are_refused(
    reports: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    option, file = words
    assert run(reports, option, str(reports / file)) == 1
    error = capsys.readouterr().err
    assert error.startswith("eval.report: ")
    assert message in error
    assert not (reports / "results.md").exists()
