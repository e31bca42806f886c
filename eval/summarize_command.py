"""Summaries as users get them: the command `summarize`, run over a folder of files."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from terraformer.errors import DataError
from terraformer.summary import Length


def summarize_folder(
    folder: Path, output: Path, *, model: str | None, length: Length | int, n_processes: int
) -> dict[str, str]:
    """Summarizes the papers of a folder, each whole and in one process.

    Args:
        folder: PDF, text, Markdown and HTML files, whose stems differ.
        output: Folder for the summaries; made if missing.
        model: Name or folder of the model; None is the shipped one.
        length: Of the summaries.
        n_processes: Papers worked on at once.
    Returns:
        The text of each summary by the stem of its paper's file.
    Raises:
        DataError: if a paper could not be summarized; the command has said why.
    """
    words = ["--output", str(output), "--format", "json", "--length", str(length)]
    words += ["--threads", str(n_processes)] + (["--model", model] if model else [])
    # Its progress and its remarks go to standard error, as ours do.
    done = subprocess.run([sys.executable, "-m", "app.cli", str(folder), *words])
    if done.returncode:
        raise DataError(f"summarize ended with status {done.returncode}: see what it said above")
    summaries: dict[str, str] = {}
    for file in sorted(output.glob("*.summary.json")):
        record = json.loads(file.read_text(encoding="utf-8"))
        stem = file.name.removesuffix(".summary.json")
        summaries[stem] = " ".join(sentence["text"] for sentence in record["sentences"])
    return summaries
