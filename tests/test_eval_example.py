"""Summaries of papers that may be shown, as `summarize` prints them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from eval.example import main, read_paper
from terraformer.errors import DataError

PAPER = """\
Sediment in Rivers

Abstract

Sediment feeds deltas. We followed
it along one river.

1 Introduction

Rivers carry sediment from the mountains to the sea. Nobody had measured it at every station. We did
so for eight years, and found that dams hold it back.

2 Results

The flux of sediment rose with the discharge of the river. Below every dam it fell by half. Dams
change the flux more than the climate does.

References

Einstein, H. A. The bed-load function. 1950.
"""


def test_a_paper_is_read_without_abstract_and_references(tmp_path: Path) -> None:
    file = tmp_path / "paper.txt"
    file.write_text(PAPER)
    paper = read_paper(file)
    assert paper.abstract == "Sediment feeds deltas. We followed it along one river."
    assert "feeds deltas" not in paper.text
    assert "Einstein" not in paper.text
    assert "1 Introduction\n\nRivers carry" in paper.text
    assert "than the climate does" in paper.text


def test_the_report_of_the_examples_can_be_read() -> None:
    paper = read_paper(Path(__file__).parents[1] / "examples" / "report.txt")
    assert 150 <= len(paper.abstract.split()) <= 200
    assert paper.abstract.startswith("Scientific papers are longer")
    assert paper.text.count("Introduction") >= 1


@pytest.mark.parametrize("text", ["A title\n\n1 Introduction\n\nText.\n", "Abstract\n\nAll of it."])
def test_a_paper_needs_an_abstract(text: str, tmp_path: Path) -> None:
    file = tmp_path / "paper.txt"
    file.write_text(text)
    with pytest.raises(DataError, match=r'paper\.txt has no line "Abstract"'):
        read_paper(file)


def test_both_modes_of_the_command_are_scored(tmp_path: Path, tiny_writer: Path) -> None:
    file, report = tmp_path / "paper.txt", tmp_path / "example.json"
    file.write_text(PAPER)
    assert main([str(file), "--model", str(tiny_writer), "--report", str(report)]) == 0
    values = json.loads(report.read_text())
    assert values["config"]["model"] == tiny_writer.name
    assert str(tmp_path) not in json.dumps(values["config"])
    (row,) = values["examples"]
    assert (row["id"], row["title"]) == ("paper.txt", "Sediment in Rivers")
    picked, written = row["systems"]["extract"], row["systems"]["abstract"]
    assert all(part in " ".join(PAPER.split()) for part in picked["text"].split(". "))
    assert picked["scores"]["coverage"] == 100
    assert picked["scores"]["rouge1"] > 0
    assert picked["unsupported"] == []
    assert written["text"]
    assert written["text"] != picked["text"]


def test_what_summarize_cannot_do_is_told(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file, report = tmp_path / "paper.txt", tmp_path / "example.json"
    file.write_text(PAPER)
    assert main([str(file), "--model", "gone", "--report", str(report)]) == 1
    error = capfd.readouterr().err
    assert "summarize: " in error
    assert "eval.example: summarize ended with status 1" in error
    assert not report.exists()
