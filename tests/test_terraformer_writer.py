from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from terraformer.document import Document, Paragraph
from terraformer.errors import CheckpointError, MemoryBudgetError
from terraformer.sentence_splitter import split_sentences
from terraformer.static_decoding import StaticDecoder
from terraformer.summarizer import Summarizer
from terraformer.summary import SummaryOptions, SummarySentence
from terraformer.tokenizer import EOS_ID
from terraformer.writing_config import WritingConfig

SECTIONS = [
    ("1 Introduction", "Rivers carry sediment to the sea. Dams stop the sediment."),
    ("2 Results", "The flux of sediment fell by 0.35 below every dam of the Danube."),
    ("", "Deltas shrink where the sediment is missing."),
]
WRITTEN = [
    "The flux of sediment fell by 0.35 in the Danube.",
    "It fell by 0.75 in the Rhine.",
    "Deltas shrink.",
]


def paper() -> Document:
    return Document.build(
        [
            (heading, [Paragraph(text, ((0, page),))])
            for page, (heading, text) in enumerate(SECTIONS, start=1)
        ],
        title="Sediment",
        n_pages=3,
        notes=("page 4 holds no text",),
    )


@pytest.fixture(scope="module")
def summarizer(tiny_writer: Path) -> Summarizer:
    return Summarizer.load(tiny_writer)


def fresh(tiny_writer: Path) -> Summarizer:
    return Summarizer.load(tiny_writer)


def test_each_sentence_names_its_sources_and_what_they_lack(recite: Any, tiny_writer: Path) -> None:
    recite(" ".join(WRITTEN))
    document = paper()
    summary = fresh(tiny_writer).summarize(document)
    assert summary.mode == "abstract"
    assert [sentence.text for sentence in summary.sentences] == WRITTEN
    assert [sentence.unsupported for sentence in summary.sentences] == [(), ("0.75", "Rhine"), ()]
    first = summary.sentences[0]
    assert (first.sentence, first.section, first.page) == (2, "2 Results", 2)
    for source in first.sources:
        text = document.sentences[source.sentence].text
        assert document.text[source.start : source.end] == text
    assert summary.sentences[2].sentence == 3
    assert summary.notes == (
        "page 4 holds no text",
        "1 of 3 sentences are marked: the document does not hold 0.75, Rhine; --strict leaves "
        "them out",
    )


def test_strict_leaves_out_what_is_unsupported(recite: Any, tiny_writer: Path) -> None:
    recite(" ".join(WRITTEN))
    summary = fresh(tiny_writer).summarize(paper(), SummaryOptions(strict=True))
    assert [sentence.text for sentence in summary.sentences] == [WRITTEN[0], WRITTEN[2]]
    assert summary.notes[-1] == (
        "1 of 3 sentences are left out: the document does not hold 0.75, Rhine"
    )


@pytest.mark.parametrize("strict", [False, True])
def test_what_is_told_while_writing_is_the_summary(
    strict: bool, recite: Any, tiny_writer: Path
) -> None:
    recite(" ".join(WRITTEN))
    told: list[tuple[str, SummarySentence | None]] = []
    summary = fresh(tiny_writer).summarize(
        paper(), SummaryOptions(strict=strict), written=lambda *each: told.append(each)
    )
    assert "".join(text for text, _ in told) == summary.text
    assert tuple(each for _, each in told if each is not None) == summary.sentences
    n_before = next(i for i, (_, each) in enumerate(told) if each is not None)
    assert n_before == (0 if strict else 10)  # words of the first sentence, one by one


def test_the_model_reads_title_headings_and_text(recite: Any, tiny_writer: Path) -> None:
    decoder = recite("Deltas shrink.")
    summarizer = fresh(tiny_writer)
    summarizer.summarize(paper())
    expected = summarizer.tokenizer.encode_document(paper()).ids.tolist()
    assert decoder.source == [*expected, EOS_ID]


def test_a_source_beyond_the_models_room_is_told(recite: Any, tiny_writer: Path) -> None:
    decoder = recite("Deltas shrink.")
    summarizer = fresh(tiny_writer)
    tokenized = summarizer.tokenizer.encode_document(paper())
    at_results = int((tokenized.sentence_of_token == 2).argmax())
    options = SummaryOptions(writing=WritingConfig(max_source=at_results + 4))
    summary = summarizer.summarize(paper(), options)
    assert decoder.source == [*tokenized.ids[:at_results].tolist(), EOS_ID]
    assert summary.notes[1] == (
        f"pages 2–3 were not read, or only in part: the model reads {at_results + 4} tokens at "
        "most, here 2 of 4 sentences; --mode extract reads all"
    )
    without_pages = Document.from_sections(SECTIONS)
    notes = summarizer.summarize(without_pages, options).notes
    assert notes[0].startswith("the text from within “2 Results” on was not read: the model reads")


def test_a_rewriting_model_reads_picked_sentences(
    recite: Any, tiny_writer: Path, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoder = recite("Deltas shrink.")
    summarizer = fresh(tiny_writer)
    extractor = Summarizer.load(tiny_checkpoint)._extractor
    monkeypatch.setitem(summarizer.__dict__, "_extractor", extractor)
    ranking = [pick.sentence for pick in extractor.rank(paper())]
    assert len(ranking) > 2
    tokenized = summarizer.tokenizer.encode_document(paper())
    lengths = [int((tokenized.sentence_of_token == i).sum()) for i in range(4)]
    room = lengths[ranking[0]] + lengths[ranking[1]]
    monkeypatch.setattr("terraformer.writer_source._MIN_EXTRACTED", 1)
    words = sum(pick.n_words for pick in extractor.rank(paper()))
    writing = WritingConfig(n_extracted=room, typical_words=words)
    summary = summarizer.summarize(paper(), SummaryOptions(length=words, writing=writing))
    kept = sorted(ranking[:2])
    expected = [tokenized.ids[tokenized.sentence_of_token == i].tolist() for i in kept]
    assert decoder.source == [*expected[0], *expected[1], EOS_ID]
    assert len(summary.notes) == 2
    assert f"of {words} words" in summary.notes[-1]


def picking_two(
    summarizer: Summarizer, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> Summarizer:
    """Gives the summarizer an extractor that picks two sentences; returns one that picks alone."""
    picking = Summarizer.load(tiny_checkpoint)
    config = picking.model.config
    two = replace(config.picking, stop_threshold=2.0, max_picks=2)
    monkeypatch.setattr(picking.model, "config", replace(config, picking=two))
    monkeypatch.setitem(summarizer.__dict__, "_extractor", picking._extractor)
    return picking


@pytest.mark.parametrize("n_written", [1, 8])
def test_a_rewriting_model_writes_no_more_than_would_be_picked(
    n_written: int,
    recite: Any,
    tiny_writer: Path,
    tiny_checkpoint: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recite(" ".join(SENTENCE.replace("flux", f"flux {word}") for word in "ABCDEFGH"[:n_written]))
    summarizer = fresh(tiny_writer)
    picked = picking_two(summarizer, tiny_checkpoint, monkeypatch).summarize(paper())
    assert len(picked.sentences) == 2
    writing = WritingConfig(block_trigrams=False, n_extracted=500)
    summary = summarizer.summarize(paper(), SummaryOptions(writing=writing))
    if n_written == 1:
        assert len(summary.sentences) == 1
    else:
        assert abs(summary.n_words - picked.n_words) <= len(SENTENCE.split())


def test_a_rewriting_model_reads_more_for_more_words(
    recite: Any, tiny_writer: Path, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recite("Deltas shrink.")
    summarizer = fresh(tiny_writer)
    monkeypatch.setattr("terraformer.writer_source._MIN_EXTRACTED", 1)
    normal = picking_two(summarizer, tiny_checkpoint, monkeypatch).summarize(paper()).n_words
    writer, writing = summarizer._writer, WritingConfig(n_extracted=30, typical_words=10)
    lengths = ("short", "normal", "long", 2, 1000)
    sources = {length: writer.source(paper(), writing, length) for length in lengths}
    words = {length: source.n_words for length, source in sources.items()}
    assert words == {
        "short": round(normal / 2),
        "normal": normal,
        "long": 2 * normal,
        2: 2,
        1000: 1000,
    }
    tokens = {length: source.ids.shape[1] - 1 for length, source in sources.items()}
    ranked = [pick.sentence for pick in summarizer._extractor.rank(paper())]
    tokenized = summarizer.tokenizer.encode_document(paper())
    assert tokens[2] == (tokenized.sentence_of_token == ranked[0]).sum() > 3 * 2  # never a part
    assert tokens[2] <= tokens["short"] < tokens["normal"] <= tokens["long"] <= tokens[1000]
    for length in ("short", "normal", "long"):
        assert tokens[length] <= 3 * words[length]
    assert tokens[1000] == np.isin(tokenized.sentence_of_token, ranked).sum()


def test_a_rewriting_model_reads_some_sentences_even_for_a_word(
    tiny_writer: Path, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    summarizer = fresh(tiny_writer)
    extractor = Summarizer.load(tiny_checkpoint)._extractor
    monkeypatch.setitem(summarizer.__dict__, "_extractor", extractor)
    writing = WritingConfig(n_extracted=30, typical_words=10)
    whole = summarizer._writer.source(paper(), writing, 1000).ids
    assert whole.shape[1] - 1 < 128
    assert torch.equal(summarizer._writer.source(paper(), writing, 1).ids, whole)


SENTENCE = "The flux of sediment fell below every dam of the river."  # eleven words


@pytest.mark.parametrize(
    ("length", "n_sentences"), [("short", 1), ("normal", 5), ("long", 4), (34, 3), (7, 1)]
)
def test_lengths_are_met_at_the_end_of_a_sentence(
    length: Any, n_sentences: int, recite: Any, tiny_writer: Path
) -> None:
    numbered = [SENTENCE.replace("flux", f"flux {word}") for word in "ABCDE"]
    recite(" ".join(numbered))
    writing = WritingConfig(block_trigrams=False, typical_words=24)
    options = SummaryOptions(length=length, writing=writing)
    summary = fresh(tiny_writer).summarize(paper(), options)
    assert (
        len(summary.sentences) == n_sentences if length != "long" else summary.n_words in (48, 60)
    )


def test_a_summary_far_below_its_words_is_told(recite: Any, tiny_writer: Path) -> None:
    recite(" ".join([SENTENCE, SENTENCE.replace("flux", "load")]))
    writing = WritingConfig(block_trigrams=False)
    summary = fresh(tiny_writer).summarize(paper(), SummaryOptions(length=40, writing=writing))
    assert summary.notes[-1] == (
        "the summary has 22 of 40 words: the model found no more to say; --mode extract picks as "
        "many as are wanted"
    )


def test_strict_goes_on_until_enough_is_supported(recite: Any, tiny_writer: Path) -> None:
    recite(" ".join([WRITTEN[1], SENTENCE] * 4))
    writing = WritingConfig(block_trigrams=False)
    options = SummaryOptions(length=30, strict=True, writing=writing)
    summary = fresh(tiny_writer).summarize(paper(), options)
    assert [sentence.text for sentence in summary.sentences] == [SENTENCE] * 3


def test_a_text_without_an_end_is_told(recite: Any, tiny_writer: Path) -> None:
    recite("Deltas shrink where the sediment is missing")
    summary = fresh(tiny_writer).summarize(
        paper(), SummaryOptions(writing=WritingConfig(max_tokens=5))
    )
    assert summary.notes[-1] == "the summary was broken off after 5 tokens, without an end"
    assert len(summary.sentences) == 1


WAYS = {
    "greedy": WritingConfig(max_tokens=40),
    "beam": WritingConfig(max_tokens=40, beam_size=3),
    "drawn": WritingConfig(max_tokens=40, temperature=1.0, top_p=0.9, seed=3),
}


@pytest.mark.parametrize("writing", WAYS.values(), ids=WAYS)
def test_the_same_document_gives_the_same_summary(
    writing: WritingConfig, summarizer: Summarizer, tiny_writer: Path
) -> None:
    options = SummaryOptions(writing=writing)
    told: list[str] = []
    first = summarizer.summarize(paper(), options, written=lambda text, _: told.append(text))
    assert first.sentences
    assert "".join(told) == first.text
    summarizer.summarize(Document.from_sections([("", "Another stands between them.")]), options)
    assert summarizer.summarize(paper(), options) == first
    assert fresh(tiny_writer).summarize(paper(), options) == first


def test_a_number_of_words_is_nearly_met(summarizer: Summarizer) -> None:
    for n_words in (12, 25):
        summary = summarizer.summarize(paper(), SummaryOptions(length=n_words))
        if not any("without an end" in note for note in summary.notes):
            spans = split_sentences(summary.text)
            longest = max(len(summary.text[start:end].split()) for start, end in spans)
            assert abs(summary.n_words - n_words) <= longest


def test_both_modes_of_a_writing_model(summarizer: Summarizer) -> None:
    assert summarizer.mode == "abstract"
    assert summarizer.modes == ("abstract", "extract")
    extract = summarizer.summarize(paper(), SummaryOptions(mode="extract"))
    assert extract.mode == "extract"
    assert {each.text for each in extract.sentences} <= {s.text for s in paper().sentences}


def test_without_a_writing_model_there_is_a_way_out(
    tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("terraformer.checkpoint.PRETRAINED", tmp_path)
    picking = Summarizer.load(tiny_checkpoint)
    assert picking.modes == ("extract",)
    for ask in (
        lambda: Summarizer.load(mode="abstract"),
        lambda: picking.summarize(paper(), SummaryOptions(mode="abstract")),
    ):
        with pytest.raises(CheckpointError, match="no model that writes is installed: give one"):
            ask()
    with pytest.raises(CheckpointError, match="picks sentences and does not write"):
        Summarizer.load(tiny_checkpoint, mode="abstract")


def test_a_shipped_writing_model_is_found(
    tiny_checkpoint: Path, tiny_writer: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "abstract-tiny").symlink_to(tiny_writer)
    monkeypatch.setattr("terraformer.checkpoint.PRETRAINED", tmp_path)
    assert Summarizer.load(mode="abstract").mode == "abstract"
    picking = Summarizer.load(tiny_checkpoint)
    assert picking.modes == ("extract", "abstract")
    summary = picking.summarize(paper(), SummaryOptions(mode="abstract"))
    assert summary == fresh(tiny_writer).summarize(paper())


def test_the_budget_is_kept_or_refused(tiny_writer: Path) -> None:
    free = fresh(tiny_writer).summarize(paper())
    assert Summarizer.load(tiny_writer, memory=2**36).summarize(paper()) == free
    with pytest.raises(MemoryBudgetError, match="the budget is 1 MiB"):
        Summarizer.load(tiny_writer, memory=2**20).summarize(paper())


def test_settings_of_the_checkpoint_hold_where_none_are_given(summarizer: Summarizer) -> None:
    config = summarizer.model.config.writing  # pyright: ignore[reportAttributeAccessIssue]
    own = summarizer.summarize(paper())
    assert own == summarizer.summarize(paper(), SummaryOptions(writing=config))
    shorter = summarizer.summarize(
        paper(), SummaryOptions(writing=replace(config, min_tokens=0, max_tokens=8))
    )
    assert shorter.n_words < own.n_words


@pytest.mark.parametrize("writing", [WAYS["greedy"], WAYS["drawn"]], ids=["greedy", "drawn"])
def test_a_step_of_fixed_shapes_writes_the_same(
    writing: WritingConfig, tiny_writer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    documents = [paper(), Document.from_sections([("", "A short one.")]), paper()]
    options = SummaryOptions(writing=writing)
    expected = [fresh(tiny_writer).summarize(each, options) for each in documents]
    monkeypatch.setattr(
        "terraformer.writer.fast_or_plain", lambda model, *_: StaticDecoder(model, n_ahead=8)
    )
    summarizer = fresh(tiny_writer)
    assert [summarizer.summarize(each, options) for each in documents] == expected


def test_a_gpu_decodes_by_a_captured_step_but_for_beams(
    tiny_writer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []

    def captured(model: Any, n_ahead: int) -> StaticDecoder:
        made.append(n_ahead)
        return StaticDecoder(model, n_ahead=n_ahead)

    monkeypatch.setattr("terraformer.writer.graphed_or_plain", captured)
    summarizer = fresh(tiny_writer)
    writer, model = summarizer._writer, summarizer.model.to("meta")
    assert writer._decoder(WAYS["beam"], 40) is model
    decoder = writer._decoder(WAYS["greedy"], 40)
    assert decoder is writer._decoder(WAYS["drawn"], 90)
    assert made == [40]


needs_cuda = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="a model works on a CUDA device, there is none"
)


@needs_cuda
@pytest.mark.parametrize("memory", [None, 2**30])
@pytest.mark.parametrize("writing", WAYS.values(), ids=WAYS)
def test_a_gpu_writes_what_the_cpu_writes(
    writing: WritingConfig, memory: int | None, tiny_writer: Path
) -> None:
    options = SummaryOptions(writing=writing)
    try:
        on_gpu = Summarizer.load(tiny_writer, device="cuda", memory=memory)
        assert on_gpu.device.type == "cuda"
        for document in (paper(), Document.from_sections(SECTIONS[:2]), paper()):
            expected = fresh(tiny_writer).summarize(document, options)
            assert on_gpu.summarize(document, options) == expected
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
