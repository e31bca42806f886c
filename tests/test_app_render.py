"""Summaries as text, Markdown and JSON."""

from __future__ import annotations

import json

import pytest

from app.render import FORMATS, notes_of, provenance, render, size_of, to_record
from terraformer.document import Document, Paragraph
from terraformer.summary import Summary, SummarySentence


@pytest.fixture
def document() -> Document:
    return Document.build(
        [
            ("1 Introduction", [Paragraph("Rivers move sand. Dams stop it.", ((0, 1), (18, 2)))]),
            ("", [Paragraph("Deltas shrink at p < 0.05 [12].", ((0, 3),))]),
        ],
        title="Sand & dams",
        n_pages=3,
        notes=("page 2 holds no text",),
    )


def pick(document: Document, *indices: int, notes: tuple[str, ...] = ()) -> Summary:
    return Summary(
        document.title,
        tuple(
            SummarySentence(
                text=document.sentences[i].text,
                sentence=i,
                section=document.sections[document.sentences[i].section].heading,
                page=document.sentences[i].page,
                start=document.sentences[i].start,
                end=document.sentences[i].end,
            )
            for i in indices
        ),
        notes,
    )


def test_text_is_one_line(document: Document) -> None:
    text = render(pick(document, 0, 2), document, source="a.pdf", length="normal")
    assert text == "Rivers move sand. Deltas shrink at p < 0.05 [12].\n"


def test_text_wraps_between_words_and_loses_none(document: Document) -> None:
    summary = pick(document, 0, 1, 2)
    text = render(summary, document, source="a.pdf", length="normal", width=20)
    assert max(map(len, text.splitlines())) <= 20
    assert text.split() == summary.text.split()


def test_markdown_shows_where_each_sentence_stands(document: Document) -> None:
    text = render(
        pick(document, 1, 2), document, source="a_b.pdf", length="short", format="markdown"
    )
    assert text.splitlines() == [
        "# Sand & dams",
        "",
        "Summary of a_b.pdf (3 pages, 13 words) in 10 words:",
        "",
        "- Dams stop it. (p. 2, 1 Introduction)",
        "- Deltas shrink at p < 0.05 [12]. (p. 3)",
        "",
        "> Note: page 2 holds no text",
    ]


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("a *b* c", r"a \*b\* c"),
        ("_b_ but snake_case", r"\_b\_ but snake_case"),
        ("see <script>", r"see \<script>"),
        ("0 <1 and 2 < 3", "0 <1 and 2 < 3"),
        ("[x](http://e)", r"[x\](http://e)"),
        ("&amp; R&D", r"\&amp; R&D"),
        ("# of cases", r"\# of cases"),
        ("over\ntwo lines", "over two lines"),
    ],
)
def test_markdown_escapes_only_what_would_act(text: str, escaped: str) -> None:
    document = Document.from_sections([("", "A sentence. Another.")])
    summary = Summary("", (SummarySentence(text, 0, "", None, 0, 11),))
    shown = render(summary, document, source="a", length="normal", format="markdown")
    assert f"- {escaped}\n" in shown


def test_control_characters_never_reach_a_terminal(document: Document) -> None:
    summary = Summary("", (SummarySentence("Red \x1b[31malert\x07.", 0, "", 1, 0, 9),))
    text = render(summary, document, source="a", length="normal")
    assert text == "Red [31malert.\n"


def test_json_spans_point_into_the_document(document: Document) -> None:
    summary = pick(document, 0, 2, notes=("a second remark", "page 2 holds no text"))
    record = json.loads(render(summary, document, source="a.pdf", length=80, format="json"))
    assert record == to_record(summary, document, source="a.pdf", length=80)
    assert {name: record[name] for name in ("title", "source", "length", "n_source_pages")} == {
        "title": "Sand & dams",
        "source": "a.pdf",
        "length": 80,
        "n_source_pages": 3,
    }
    assert [sentence["page"] for sentence in record["sentences"]] == [1, 3]
    for sentence in record["sentences"]:
        assert document.text[sentence["start"] : sentence["end"]] == sentence["text"]
        assert document.sentences[sentence["sentence"]].text == sentence["text"]
    assert record["notes"] == ["page 2 holds no text", "a second remark"]


@pytest.mark.parametrize("format", FORMATS)
def test_equal_inputs_give_equal_bytes(document: Document, format) -> None:
    outputs = {
        render(pick(document, 0, 1), document, source="a", length="long", format=format)
        for _ in range(3)
    }
    assert len(outputs) == 1
    assert outputs.pop().endswith("\n")


def test_provenance_and_size_without_pages() -> None:
    document = Document.from_sections([("Results", "One.")])
    assert provenance(pick(document, 0).sentences[0]) == "Results"
    assert provenance(SummarySentence("One.", 0, "", None, 0, 4)) == ""
    assert size_of(document) == "1 word"
    assert notes_of(pick(document, 0), document) == ()
