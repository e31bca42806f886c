"""Written summaries at every door: the command, files, folders and the page."""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from app import cli
from app.page_view import view_summary
from app.readers import read_text
from app.terminal_stream import TerminalStream
from app.ui import build_page
from terraformer.summarizer import Summarizer
from terraformer.summary import SourceSentence, SummaryOptions, SummarySentence

WRITTEN = (
    "The flux of sediment rose with the discharge of the river. "
    "It fell by 75.5 percent in Zurich. We measured the turbidity at every station."
)
MARK = "[not in the document: 75.5, Zurich]"
Run = Callable[..., tuple[int, str, str]]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def paper(tmp_path: Path, paper_text: str) -> Path:
    path = tmp_path / "paper.md"
    path.write_text(paper_text, encoding="utf-8")
    return path


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], paper: Path, tiny_writer: Path) -> Run:
    def call(*argv: object, model: Path | None = tiny_writer) -> tuple[int, str, str]:
        words = [] if model is None else ["--model", model]
        status = cli.main([str(word) for word in (paper, *words, *argv)])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


def test_a_model_that_writes_does_so_without_being_asked(run: Run) -> None:
    status, out, _ = run("--format", "json")
    record = json.loads(out)
    assert (status, record["mode"]) == (0, "abstract")
    assert record["sentences"]
    assert json.loads(run("--format", "json", "--mode", "extract")[1])["mode"] == "extract"


def test_unsupported_sentences_are_marked(run: Run, recite: Any) -> None:
    recite(WRITTEN)
    status, out, err = run("--mode", "abstract")
    assert status == 0
    assert out == WRITTEN.replace("in Zurich.", f"in Zurich. {MARK}") + "\n"
    assert "1 of 3 sentences are marked: the document does not hold 75.5, Zurich" in err


def test_strict_drops_them(run: Run, recite: Any) -> None:
    recite(WRITTEN)
    status, out, err = run("--mode", "abstract", "--strict")
    assert status == 0
    assert out == WRITTEN.replace("It fell by 75.5 percent in Zurich. ", "") + "\n"
    assert "1 of 3 sentences are left out" in err


def test_json_and_markdown_show_sources_and_marks(run: Run, recite: Any) -> None:
    recite(WRITTEN)
    sentences = json.loads(run("--format", "json")[1])["sentences"]
    assert [sentence["unsupported"] for sentence in sentences] == [[], ["75.5", "Zurich"], []]
    assert sentences[0]["section"] == sentences[0]["sources"][0]["section"] == "3 Results"
    assert sentences[2]["sources"][0]["section"] == "2 Methods"
    lines = run("--format", "markdown")[1].splitlines()
    assert next(line for line in lines if "turbidity" in line).endswith("(2 Methods)")
    assert next(line for line in lines if "Zurich" in line).endswith(f"**{MARK}**")


@pytest.mark.parametrize("strict", [False, True])
def test_a_terminal_shows_in_the_end_what_a_file_would_hold(
    strict: bool, run: Run, recite: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    recite(WRITTEN)
    words = ["--strict"] if strict else []
    expected = run(*words)[1]
    terminal = Terminal()
    monkeypatch.setattr(cli, "TEXT_WIDTH", 40)
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setattr(sys, "stderr", terminal)
    assert run("--quiet", *words)[0] == 0
    shown = terminal.getvalue()
    assert shown.split() == expected.split()
    assert shown.endswith("\n")
    assert 30 < max(map(len, shown.splitlines())) <= 40


def test_words_reach_the_terminal_while_it_is_written() -> None:
    terminal = Terminal()
    stream = TerminalStream(terminal, 14)
    shown = []
    for text in ("Rivers", " move", " sand", "\x1b[31m."):
        stream(text, None)
        shown.append(terminal.getvalue())
    assert shown == ["Rivers", "Rivers move", "Rivers move\nsand", "Rivers move\nsand[31m."]
    stream("", SummarySentence("Rivers move sand.", None, "", None, None, None, (), ("7",)))
    stream.close()
    assert terminal.getvalue().splitlines()[1:] == ["sand[31m. [not", "in the", "document: 7]"]


def test_without_a_model_that_writes_one_line_says_the_way_out(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_checkpoint: Path
) -> None:
    monkeypatch.setattr("terraformer.checkpoint.PRETRAINED", tmp_path)
    status, out, err = run("--mode", "abstract", model=None)
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert err.startswith("summarize: no model that writes is installed: give one with --model")
    status, out, err = run("--mode", "abstract", model=tiny_checkpoint)
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert "picks sentences and does not write" in err


def test_folders_take_the_mode_too(
    capsys: pytest.CaptureFixture[str], paper: Path, tmp_path: Path, tiny_writer: Path
) -> None:
    words = [paper.parent, "-o", tmp_path / "out", "--model", tiny_writer, "--format", "json"]
    assert cli.main([str(word) for word in words]) == 0
    record = json.loads((tmp_path / "out" / "paper.summary.json").read_text())
    assert record["mode"] == "abstract"
    capsys.readouterr()


def labels(page: gr.Blocks) -> set[str]:
    return {getattr(block, "label", None) or "" for block in page.blocks.values()}


def test_the_page_offers_the_mode_only_where_a_model_writes(
    tiny_checkpoint: Path,
    tiny_writer: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    paper_text: str,
) -> None:
    monkeypatch.setattr("terraformer.checkpoint.PRETRAINED", tmp_path)
    assert not {"Mode", "Strict"} & labels(build_page(Summarizer.load(tiny_checkpoint)))
    page = build_page(Summarizer.load(tiny_writer))
    assert {"Mode", "Strict"} <= labels(page)
    endpoint = next(fn for fn in page.fns.values() if fn.api_name == "summarize")
    assert len(endpoint.inputs) == 6
    _, record = endpoint.fn(None, paper_text, "normal", False, "abstract", True)  # pyright: ignore
    assert record["mode"] == "abstract"


def test_the_page_shows_every_source_and_the_mark(
    recite: Any, tiny_writer: Path, paper_text: str
) -> None:
    recite(WRITTEN)
    document = read_text(paper_text, is_markdown=True)
    summary = Summarizer.load(tiny_writer).summarize(document, SummaryOptions())
    html = view_summary(summary, document, source="a.md", length="normal")
    shown = [unescape(text) for text in re.findall(r"<mark>(.*?)</mark>", html)]
    sources = [source for sentence in summary.sentences for source in sentence.sources]
    assert shown == [document.sentences[source.sentence].text for source in sources]
    assert len(sources) > 1
    assert f'<span class="tf-mark">{MARK}</span>' in html


def test_a_sentence_that_comes_from_nowhere_says_so(paper_text: str) -> None:
    from app.render import provenance, to_record
    from terraformer.summary import Summary

    document = read_text(paper_text, is_markdown=True)
    lone = SummarySentence.of("Neural networks translate.", [])
    summary = Summary("", (lone,), (), "abstract")
    assert provenance(lone) == ""
    assert to_record(summary, document, source="a", length="normal")["sentences"][0] == {
        **dict.fromkeys(("page", "sentence", "start", "end")),
        "text": "Neural networks translate.",
        "section": "",
        "sources": [],
        "unsupported": [],
    }
    html = view_summary(summary, document, source="a", length="normal")
    assert "no sentence of the document is like it" in html


def test_several_places_are_named_once_each() -> None:
    from app.render import provenance

    places = [
        SourceSentence(i, section, page, 0, 1)
        for i, (section, page) in enumerate([("A", 1), ("B", 2), ("A", 1)])
    ]
    sentence = SummarySentence.of("Both.", places)
    assert provenance(sentence) == "p. 1, A; p. 2, B"
    assert sentence.sources == tuple(places)
