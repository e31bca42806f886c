"""The command `summarize`: what it prints where, and how it ends."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from app import cli
from app.arguments import memory_size, summary_length
from app.progress import StderrProgress

HEAVY = ("torch", "numpy", "transformers", "gradio", "scipy", "tqdm", "pypdf", "pypdfium2")


@pytest.fixture
def paper(tmp_path: Path, paper_text: str) -> Path:
    path = tmp_path / "paper.md"
    path.write_text(paper_text, encoding="utf-8")
    return path


def run(capsys: pytest.CaptureFixture[str], *argv: object) -> tuple[int, str, str]:
    status = cli.main([str(argument) for argument in argv])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom app.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit as end:\n    assert end.code == 0\n"
        f"print(sorted(set({HEAVY}) & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("usage: summarize")
    assert "summarize paper.pdf --length short" in done.stdout
    assert done.stdout.endswith("[]\n")


def test_summary_is_made_of_the_papers_sentences(capsys, paper, tiny_checkpoint) -> None:
    status, out, err = run(capsys, paper, "--model", tiny_checkpoint, "--length", "40")
    assert (status, err) == (0, "")
    sentences = [sentence.strip() + "." for sentence in out.strip().removesuffix(".").split(".")]
    assert sentences
    assert all(sentence in paper.read_text() for sentence in sentences)


def test_same_document_twice_gives_the_same_bytes(capsys, paper, tiny_checkpoint) -> None:
    outputs = {
        run(capsys, paper, "--model", tiny_checkpoint, "--format", "json")[1] for _ in range(2)
    }
    assert len(outputs) == 1


def test_json_has_provenance(capsys, paper, tiny_checkpoint) -> None:
    _, out, _ = run(capsys, paper, "--model", tiny_checkpoint, "--format", "json")
    record = json.loads(out)
    assert record["title"] == "Sediment in rivers"
    assert record["source"] == "paper.md"
    assert {sentence["section"] for sentence in record["sentences"]} <= {
        "1 Introduction",
        "2 Methods",
        "3 Results",
        "4 Conclusion",
    }


def test_keep_abstract_leaves_it_in(capsys, paper, tiny_checkpoint) -> None:
    arguments = (paper, "--model", tiny_checkpoint, "--format", "json")
    without = json.loads(run(capsys, *arguments)[1])["n_source_words"]
    with_it = json.loads(run(capsys, *arguments, "--keep-abstract")[1])["n_source_words"]
    assert with_it - without == 31


def test_standard_input(capsys, monkeypatch, paper_text, tiny_checkpoint) -> None:
    stdin = io.TextIOWrapper(io.BytesIO(paper_text.encode()))
    monkeypatch.setattr(sys, "stdin", stdin)
    status, out, _ = run(capsys, "-", "--model", tiny_checkpoint, "--format", "markdown")
    assert status == 0
    assert "Summary of standard input (" in out


@pytest.mark.parametrize(
    ("output", "expected", "opening"),
    [
        ("out.json", "out.json", "{"),
        ("out.md", "out.md", "# Sediment in rivers"),
        ("new/", "new/paper.summary.txt", ""),
    ],
)
def test_output_decides_the_format(
    capsys, tmp_path, paper, tiny_checkpoint, output, expected, opening
) -> None:
    status, out, _ = run(capsys, paper, "--model", tiny_checkpoint, "-o", f"{tmp_path}/{output}")
    assert (status, out) == (0, "")
    assert (tmp_path / expected).read_text().startswith(opening)


@pytest.mark.parametrize("content", [b"", b"%PDF-1.4 but not really", b"\x89PNG\r\n\x1a\n"])
def test_unreadable_document_is_one_line(capsys, tmp_path, content) -> None:
    path = tmp_path / "broken.pdf"
    path.write_bytes(content)
    status, out, err = run(capsys, path)
    assert (status, out) == (1, "")
    assert err.startswith("summarize: ")
    assert err.count("\n") == 1


def test_missing_model_is_one_line(capsys, tmp_path, paper) -> None:
    status, out, err = run(capsys, paper, "--model", tmp_path / "none")
    assert (status, out) == (1, "")
    assert err.startswith("summarize: no checkpoint")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "FILE"),
        (["a", "--length", "0"], "'0' is not one of short, normal, long or a number of words"),
        (["a", "--memory", "much"], "'much' is not a memory size"),
        (["a", "--device", "gpu"], "'gpu' is not auto, cpu, cuda or cuda:N"),
        (["a", "b"], "several papers need --output FOLDER"),
        (["a", "-", "-o", "x"], "- (standard input) cannot be one of several files"),
    ],
)
def test_wrong_usage_exits_2(capsys, argv, message) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(argv)
    assert end.value.code == 2
    assert message in capsys.readouterr().err


def test_interrupt_exits_130(capsys, monkeypatch, paper) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("app.readers.read_document", interrupt)
    assert run(capsys, paper) == (130, "", "summarize: interrupted\n")


def test_reader_that_goes_away_leaves_no_traceback(paper, tiny_checkpoint) -> None:
    command = [sys.executable, "-m", "app.cli", str(paper), "--quiet"]
    command += ["--model", str(tiny_checkpoint)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(timeout=120) == 1


def test_missing_gpu_is_one_line(capsys, monkeypatch, paper, tiny_checkpoint) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    status, out, err = run(capsys, paper, "--model", tiny_checkpoint, "--device", "cuda")
    assert (status, out) == (1, "")
    assert err.startswith("summarize: --device cuda: ")
    assert err.endswith(", or leave --device out to work on the CPU\n")
    assert err.count("\n") == 1
    expected = run(capsys, paper, "--model", tiny_checkpoint)
    assert run(capsys, paper, "--model", tiny_checkpoint, "--device", "AUTO") == expected


@pytest.mark.parametrize(
    ("text", "n_bytes"),
    [("4GiB", 4 << 30), ("4G", 4 << 30), ("800MB", 800_000_000), ("1.5 kib", 1536), ("512", 512)],
)
def test_memory_size(text, n_bytes) -> None:
    assert memory_size(text) == n_bytes


def test_summary_length() -> None:
    assert [summary_length(text) for text in ("short", "LONG", "250")] == ["short", "long", 250]


class Clock:
    """A clock that a test moves."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_progress_in_a_log_waits_and_is_sparse() -> None:
    clock, log = Clock(), io.StringIO()
    progress = StderrProgress(stream=log, clock=clock)
    for page in range(100):
        clock.now = page / 10
        progress("reading pages", page, 100)
    assert log.getvalue() == "summarize: reading pages 20/100\nsummarize: reading pages 70/100\n"
    clock.now = 20
    progress("reading pages", 100, 100)
    assert log.getvalue().count("\n") == 2


def test_progress_on_a_terminal_is_a_bar_that_goes_away() -> None:
    terminal = Terminal()
    with StderrProgress(stream=terminal) as progress:
        progress("reading pages", 1, 4)
        assert "reading pages" in terminal.getvalue()
    assert terminal.getvalue().rsplit("\r", 2)[1].strip() == ""


def test_quiet_progress_is_silent() -> None:
    terminal = Terminal()
    StderrProgress(stream=terminal, enabled=False)("reading pages", 1, 4)
    assert terminal.getvalue() == ""
