"""The same papers in three forms, through the real summarizer and the real command."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scored_papers import prediction, result

from eval.baselines import Prediction
from eval.paper_form import find_pdfs, load_lower_cased, lower_cased
from eval.paper_pdf import STYLES, write_paper
from eval.robustness import main, measure_losses
from finetune.data import to_document
from terraformer.document import Document
from terraformer.errors import DataError

OPENINGS = {
    "1 Introduction": "Rivers carry sediment from the mountains to the sea",
    "2 Methods": "We measured the turbidity of the water at every station",
    "3 Results": "The flux of sediment rose with the discharge of the river",
    "4 Conclusion": "Dams change the flux more than the climate does",
}


def paper(index: int) -> dict[str, object]:
    sections = [
        {
            "heading": heading,
            "text": " ".join(f"{opening}, as case {i} of paper {index} shows." for i in range(12)),
        }
        for heading, opening in OPENINGS.items()
    ]
    return {
        "id": f"paper-{index}",
        "origin": "plos",
        "title": "Sediment in rivers",
        "abstract": "The flux of sediment rose with the discharge. Dams change the flux.",
        "sections": sections,
    }


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "papers"
    folder.mkdir()
    pq.write_table(pa.Table.from_pylist([paper(i) for i in range(3)]), folder / "test.parquet")
    return folder


def run(data: Path, model: Path, *words: str) -> int:
    base = ["--data", str(data), "--model", str(model), "--length", "30", "--threads", "1"]
    return main([*base, *words])


def test_papers_are_summarized_in_every_form(
    data: Path, tmp_path: Path, tiny_checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "report.json"
    assert run(data, tiny_checkpoint, "--limit", "2", "--report", str(report)) == 0
    values = json.loads(report.read_text())
    assert list(values["groups"]["pubmed"]["systems"]) == ["clean", "lower", "pdf"]
    assert values["losses"].keys() == {"pubmed", "all"}
    assert values["losses"]["all"]["n"] == 2
    lines = [json.loads(line) for line in report.with_suffix(".jsonl").open()]
    for line in lines:
        texts = {form: entry["text"] for form, entry in line["systems"].items()}
        document = to_document(paper(int(line["id"][-1])))
        sentences = {sentence.text for sentence in document.sentences}
        assert texts["lower"] == texts["lower"].lower() != ""
        # What came back from the PDF are sentences of this paper, mended at every line's end.
        assert all(f"{part}." in sentences for part in texts["pdf"].rstrip(".").split(". "))
    assert str(tmp_path) not in report.read_text()
    assert "R1 lost" in capsys.readouterr().out


def test_given_pdfs_choose_the_papers(data: Path, tmp_path: Path, tiny_checkpoint: Path) -> None:
    pdfs = tmp_path / "pdfs"
    pdfs.mkdir()
    write_paper(pdfs / "real.pdf", to_document(paper(1)), STYLES[1])
    index = [{"id": "paper-1", "file": "real.pdf"}, {"id": "elsewhere", "file": "gone.pdf"}]
    (pdfs / "index.jsonl").write_text("\n".join(map(json.dumps, index)))
    report = tmp_path / "report.json"
    words = ["--pdfs", os.path.relpath(pdfs), "--report", str(report)]
    assert run(data, tiny_checkpoint, *words) == 0
    (line,) = [json.loads(line) for line in report.with_suffix(".jsonl").open()]
    assert line["id"] == "paper-1"
    assert "paper 1" in line["systems"]["pdf"]["text"]


def test_a_pdf_that_cannot_be_read_is_told(
    data: Path, tmp_path: Path, tiny_checkpoint: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.pdf").write_bytes(b"%PDF-1.7\nnothing")
    (tmp_path / "index.jsonl").write_text('{"id": "paper-0", "file": "broken.pdf"}')
    assert run(data, tiny_checkpoint, "--pdfs", str(tmp_path)) == 1
    error = capfd.readouterr().err
    assert "damaged" in error
    assert error.splitlines()[-1].startswith("eval.robustness: summarize ended with status 1")


def test_lower_case_keeps_sections_and_paragraphs() -> None:
    document = Document.from_sections(
        [("Empty", ""), ("2 Methods", "Bees dance. Foxes sleep.\nOwls hunt.")], title="On Bees"
    )
    lowered = lower_cased(document)
    assert lowered.title == "on bees"
    assert [section.heading for section in lowered.sections] == ["2 methods"]
    assert [sentence.paragraph for sentence in lowered.sentences][-1] == 1
    assert " ".join(s.text for s in lowered.sentences) == "bees dance. foxes sleep. owls hunt."

    def first(document: Document, budget_words: int, reference: str) -> Prediction:
        return Prediction(document.sentences[-1].text, (len(document.sentences) - 1,))

    system = load_lower_cased(lambda: first)
    assert system(document, 10, "") == Prediction("owls hunt.", ())


def test_losses_are_paired() -> None:
    papers = [
        result(
            str(i),
            "arxiv",
            100,
            clean=prediction(0, rouge1=40.0 + 5 * i),
            lower=prediction(0, rouge1=39.0 + 5 * i),
            pdf=prediction(0, rouge1=40.0 + 5 * i - (i % 2)),
        )
        for i in range(6)
    ]
    losses = measure_losses(papers)
    assert losses.keys() == {"arxiv", "all"}
    lower, pdf = losses["arxiv"]["losses"]["lower"], losses["arxiv"]["losses"]["pdf"]
    assert (lower["rouge1"], lower["rouge1_ci95"]) == (1.0, [1.0, 1.0])
    assert pdf["rouge1"] == 0.5
    assert pdf["rouge1_ci95"][0] < 0.5 < pdf["rouge1_ci95"][1]


def test_an_index_is_needed(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"index\.jsonl"):
        find_pdfs(tmp_path)
