from __future__ import annotations

from pathlib import Path

import pytest

from terraformer.document import Document, Paragraph
from terraformer.errors import CheckpointError, MemoryBudgetError
from terraformer.summarizer import Summarizer
from terraformer.summary import SummaryOptions

ANIMALS = "otter heron salmon beaver mayfly kingfisher dipper trout crayfish eel".split()


def paper() -> Document:
    first, second = (
        " ".join(f"The {animal} follows the river {how} every year." for animal in ANIMALS)
        for how in ("home", "away")
    )
    border = first.index("The trout")
    return Document.build(
        [
            ("1 Introduction", [Paragraph(first, ((0, 1), (border, 2)))]),
            ("", [Paragraph(second, ((0, 3),))]),
        ],
        title="Animals of the river",
        n_pages=3,
        notes=("Page 4 holds no text.",),
    )


@pytest.fixture(scope="module")
def summarizer(tiny_checkpoint: Path) -> Summarizer:
    return Summarizer.load(tiny_checkpoint)


def test_the_same_document_gives_the_same_summary(
    summarizer: Summarizer, tiny_checkpoint: Path
) -> None:
    first = summarizer.summarize(paper())
    summarizer.summarize(Document.from_sections([("", "Another document stands between them.")]))
    assert summarizer.summarize(paper()) == first
    assert Summarizer.load(tiny_checkpoint).summarize(paper()) == first


def test_every_sentence_knows_where_it_stands(summarizer: Summarizer) -> None:
    document = paper()
    summary = summarizer.summarize(document, SummaryOptions(length=10_000))
    assert [s.sentence for s in summary.sentences] == list(range(20))
    for sentence in summary.sentences:
        assert document.text[sentence.start : sentence.end] == sentence.text
        assert sentence.section == ("1 Introduction" if sentence.sentence < 10 else "")
    pages = [sentence.page for sentence in summary.sentences]
    assert pages == [1] * 7 + [2] * 3 + [3] * 10
    assert summary.title == "Animals of the river"
    assert summary.notes == ("Page 4 holds no text.",)


def test_the_orders_hold_the_same_sentences(summarizer: Summarizer) -> None:
    reading, picked = (
        [
            s.sentence
            for s in summarizer.summarize(paper(), SummaryOptions(60, order)).sentences  # type: ignore[arg-type]
        ]
        for order in ("document", "picked")
    )
    assert len(reading) > 3
    assert reading == sorted(picked) != picked


def test_progress_goes_forward_to_the_end(summarizer: Summarizer) -> None:
    reports: list[tuple[str, int, int]] = []
    summarizer.summarize(paper(), progress=lambda *report: reports.append(report))
    done = [report[1] for report in reports]
    assert done == sorted(set(done))
    assert reports[-1][1] == reports[-1][2]


def test_the_budget_is_kept_or_refused(tiny_checkpoint: Path) -> None:
    free = Summarizer.load(tiny_checkpoint).summarize(paper())
    assert Summarizer.load(tiny_checkpoint, memory=2**36).summarize(paper()) == free
    with pytest.raises(MemoryBudgetError, match="the budget is 1 MiB"):
        Summarizer.load(tiny_checkpoint, memory=2**20).summarize(paper())


def test_no_checkpoint_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError):
        Summarizer.load(tmp_path)
