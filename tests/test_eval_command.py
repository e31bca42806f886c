"""How commands are told in reports."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from eval.command import command_line


def test_absolute_paths_lose_their_folders(tmp_path: Path) -> None:
    words = ["--data", str(tmp_path / "papers"), f"--report={tmp_path}/a b.json", "--limit", "3"]
    told = command_line("eval.rouge", words)
    assert told == "python -m eval.rouge --data papers '--report=a b.json' --limit 3"
    assert command_line("eval.rouge", ["--model", "runs/extract"]).endswith(" runs/extract")


def test_without_words_they_are_those_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["rouge.py", "--limit", "5"])
    assert command_line("eval.rouge", None) == "python -m eval.rouge --limit 5"
