"""The command `python -m eval.report`, from reports to a page."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from scored_papers import prediction, result

from eval.report import main
from eval.report_plot import section_differences
from eval.results import summarize_lengths, write_report
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
