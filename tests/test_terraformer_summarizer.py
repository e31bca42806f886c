from __future__ import annotations

from pathlib import Path

import pytest
import torch

from terraformer.document import Document, Paragraph
from terraformer.errors import CheckpointError, DeviceError, MemoryBudgetError
from terraformer.model import Terraformer
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


def test_picked_sentences_are_without_their_references(summarizer: Summarizer) -> None:
    text = " ".join(f"The {animal} goes home (Fig. 1) every year (n = 3)." for animal in ANIMALS)
    document = Document.from_sections([("Results", text)])
    summary = summarizer.summarize(document)
    assert summary.sentences
    for sentence in summary.sentences:
        assert "goes home every year (n = 3)." in sentence.text
        assert "goes home (Fig. 1) every" in document.text[sentence.start : sentence.end]


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


def test_a_missing_gpu_is_told_before_anything_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DeviceError, match="or leave --device out to work on the CPU"):
        Summarizer.load(tmp_path, device="cuda")
    with pytest.raises(ValueError, match=r"device \('mps'\) must be"):
        Summarizer.load(tmp_path, device="mps")


def test_a_model_works_on_the_cpu_unless_asked(
    tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert Summarizer.load(tiny_checkpoint).device == torch.device("cpu")
    assert Summarizer.load(tiny_checkpoint, device=torch.device("cpu")).device.type == "cpu"


def test_the_model_beside_is_on_the_same_device(tiny_writer: Path) -> None:
    summarizer = Summarizer.load(tiny_writer)
    summarizer.model.to("meta")
    assert summarizer.device.type == "meta"
    assert summarizer._extractor.model.start.device.type == "meta"


@pytest.mark.parametrize(
    ("memory", "message"),
    [
        (None, "too little free memory for it: end what else is at work there, summarize the"),
        (2**36, "more of the GPU than the budget of 65,536 MiB: give a larger --memory, summarize"),
    ],
)
def test_what_a_gpu_refuses_is_told(
    memory: int | None, message: str, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.5 GiB.")

    summarizer = Summarizer.load(tiny_checkpoint, memory=memory)
    monkeypatch.setattr(Terraformer, "encode", refuse)
    with pytest.raises(MemoryBudgetError, match=message) as caught:
        summarizer.summarize(paper())
    assert str(caught.value).endswith("in parts, or give --device cpu")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.parametrize("memory", [None, 2**30])
def test_a_gpu_picks_what_the_cpu_picks(
    memory: int | None, summarizer: Summarizer, tiny_checkpoint: Path
) -> None:
    try:
        on_gpu = Summarizer.load(tiny_checkpoint, device="cuda", memory=memory)
        assert on_gpu.device.type == "cuda"
        assert on_gpu.summarize(paper()) == summarizer.summarize(paper())
        with pytest.raises(MemoryBudgetError, match="--memory"):
            Summarizer.load(tiny_checkpoint, device="cuda", memory=2**60)
        small = Summarizer.load(tiny_checkpoint, device="cuda", memory=2**24)
        with pytest.raises(MemoryBudgetError, match="the budget is 16 MiB"):
            small.summarize(paper())
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
