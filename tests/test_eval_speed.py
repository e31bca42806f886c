"""The command `python -m eval.speed` on an untrained model."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from eval.speed import main, time_calls
from eval.synthetic import synthetic_document


def test_synthetic_documents_have_the_words_asked_for() -> None:
    for n_words in (200, 5_000):
        document = synthetic_document(n_words)
        assert document.n_words == n_words
        assert len(document.sections) == 5
        assert n_words / 32 <= len(document.sentences) <= n_words / 12
    assert synthetic_document(500) == synthetic_document(500)
    assert synthetic_document(500) != synthetic_document(500, seed=1)


def test_time_calls_leaves_the_first_out_and_minds_the_clock() -> None:
    delays = iter([0.2, 0.01, 0.02, 0.03])
    seconds = time_calls(lambda: time.sleep(next(delays)), 3)
    assert len(seconds) == 3
    assert max(seconds) < 0.15
    assert len(time_calls(lambda: time.sleep(0.02), 50, max_seconds=0.05)) <= 2
    assert len(time_calls(lambda: time.sleep(0.02), 50, max_seconds=0.01)) == 1


@pytest.mark.parametrize(
    ("what", "columns"),
    [
        ("summarize", ["words", "sentences", "tokens", "summarize_s"]),
        ("encode", ["tokens", "encode_s", "full_attention_s", "speedup"]),
    ],
)
def test_rows_are_printed_and_reported(
    what: str,
    columns: list[str],
    tiny_checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    report = tmp_path / "speed.json"
    words = ["--model", str(tiny_checkpoint), "--sizes", "200,700", "--repeats", "2"]
    assert main([what, *words, "--report", str(report)]) == 0
    values = json.loads(report.read_text())
    assert [row[columns[0]] for row in values["rows"]] == [200, 700]
    for row in values["rows"]:
        assert all(row[column] > 0 for column in columns)
    assert values["config"]["model"] == tiny_checkpoint.name
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 3
    assert set(columns) <= set(printed[0].split())


def test_errors_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["encode", "--model", str(tmp_path)]) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("eval.speed: no checkpoint")
