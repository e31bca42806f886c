"""The web page: its handler, its HTML, and a call from outside through a real server."""

from __future__ import annotations

import base64
import json
import re
import socket
from html import unescape
from pathlib import Path

import gradio as gr
import pytest

from app.page_style import CSS, THEME
from app.page_view import view_summary
from app.readers import read_text
from app.ui import build_page, launch, main
from terraformer.summarizer import Summarizer
from terraformer.summary import SummaryOptions


@pytest.fixture(scope="module")
def summarizer(tiny_checkpoint: Path) -> Summarizer:
    return Summarizer.load(tiny_checkpoint)


@pytest.fixture(scope="module")
def page(summarizer: Summarizer) -> gr.Blocks:
    return build_page(summarizer)


@pytest.fixture
def summarize(page: gr.Blocks):
    return next(fn.fn for fn in page.fns.values() if fn.api_name == "summarize")


def test_pasted_text(summarize, paper_text) -> None:
    html, record = summarize(None, paper_text, "short", False)
    assert record["source"] == "pasted text"
    assert record["length"] == "short"
    assert all(sentence["text"] in html for sentence in record["sentences"])
    assert "1 Introduction" in html


def test_uploaded_file(summarize, tmp_path, paper_text) -> None:
    path = tmp_path / "rivers.md"
    path.write_text(paper_text, encoding="utf-8")
    html, record = summarize(str(path), "", "normal", True)
    assert record["source"] == "rivers.md"
    assert "<h2>Sediment in rivers</h2>" in html


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        (None, "  ", "There is nothing to summarize yet: upload a paper or paste its text."),
        ("a.pdf", "text", "There are both a file and a text: take one of them away."),
        ("<b>.pdf", "", "&lt;b&gt;.pdf does not exist: check the name and the folder."),
    ],
)
def test_errors_are_sentences(summarize, file, text, message) -> None:
    with pytest.raises(gr.Error) as raised:
        summarize(file, text, "normal", False)
    assert raised.value.message == message
    assert raised.value.print_exception is False


def test_a_bug_is_logged_and_shown_without_its_traceback(summarize, monkeypatch, caplog) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("matrix is singular")

    monkeypatch.setattr(Summarizer, "summarize", fail)
    with pytest.raises(gr.Error) as raised:
        summarize(None, "A sentence stands here. Another one follows it.", "normal", False)
    assert "singular" not in raised.value.message
    assert "matrix is singular" in caplog.text


def test_view_shows_each_sentence_in_its_place(summarizer, paper_text) -> None:
    document = read_text(paper_text, is_markdown=True)
    summary = summarizer.summarize(document, SummaryOptions("short"))
    html = view_summary(summary, document, source="a.md", length="short")
    marked = [unescape(text) for text in re.findall(r"<mark>(.*?)</mark>", html)]
    assert marked == [sentence.text for sentence in summary.sentences]
    assert html.count("<details>") == len(summary.sentences)
    assert unescape(re.search(r'data-copy="([^"]*)"', html)[1]) == summary.text  # pyright: ignore


def test_view_downloads_what_the_command_writes(summarizer, paper_text) -> None:
    document = read_text(paper_text, is_markdown=True)
    summary = summarizer.summarize(document)
    html = view_summary(summary, document, source="a.md", length="normal")
    links = re.findall(r'download="([^"]*)" href="data:([^;]*);charset=utf-8;base64,([^"]*)"', html)
    contents = {name: base64.b64decode(content).decode() for name, _, content in links}
    assert set(contents) == {"a.summary.md", "a.summary.json"}
    assert contents["a.summary.md"].startswith("# Sediment in rivers\n")
    assert json.loads(contents["a.summary.json"])["source"] == "a.md"


def test_view_escapes_what_a_document_says(summarizer) -> None:
    hostile = "<img src=x onerror=alert(1)> was found in a paper. It is not run by this page."
    document = read_text(hostile, title="<script>")
    html = view_summary(
        summarizer.summarize(document), document, source='"><script>', length="normal"
    )
    assert "<img" not in html
    assert "<script" not in html


def test_looks_ask_for_nothing_from_elsewhere() -> None:
    assert "url(" not in CSS
    assert THEME._stylesheets == []


def test_taken_port_is_one_line(capsys, tiny_checkpoint) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        status = main(["--port", str(port), "--model", str(tiny_checkpoint)])
    assert status == 1
    assert capsys.readouterr().err.splitlines()[1:] == [
        f"summarize: port {port} of 127.0.0.1 is taken or not allowed: choose another with --port"
    ]


def test_missing_gpu_is_one_line(capsys, monkeypatch, tiny_checkpoint) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert main(["--device", "cuda", "--model", str(tiny_checkpoint)]) == 1
    (line,) = capsys.readouterr().err.splitlines()[1:]
    assert line.startswith("summarize: --device cuda: ")


def test_endpoint_of_a_running_server(page, tmp_path, paper_text) -> None:
    from gradio_client import Client, handle_file
    from gradio_client.exceptions import AppError

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launch(page, host="127.0.0.1", port=port)
    try:
        client = Client(page.local_url, verbose=False)
        path = tmp_path / "rivers.md"
        path.write_text(paper_text, encoding="utf-8")
        _, record = client.predict(handle_file(path), "", "long", False, api_name="/summarize")
        assert record["title"] == "Sediment in rivers"
        assert record["length"] == "long"
        with pytest.raises(AppError, match="There is nothing to summarize yet"):
            client.predict(None, "", "normal", False, api_name="/summarize")
    finally:
        page.close(verbose=False)
