"""Command `python -m eval.example`: both modes' summaries of papers that may be shown, as JSON.

The summaries are those that `summarize` prints, for a page where text of the test papers must not
stand.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from eval.baselines import Prediction
from eval.command import checkpoint_name, command_line, require_folder_of
from eval.measures import Judge
from eval.system_arguments import add_system_arguments
from eval.table import write_rows
from finetune.command import exit_status
from terraformer.document import Document
from terraformer.errors import DataError
from terraformer.summary import MODES

_ABSTRACT = re.compile(r"^Abstract\n+(.+?)\n\n(?=(?:\d+\.?\s+)?\w[^.\n]*\n\n)", re.M | re.S)
_REFERENCES = re.compile(r"^References\n.*", re.M | re.S)


class OpenPaper(NamedTuple):
    """A paper that may be shown: its text without abstract and references, and its abstract."""

    text: str
    abstract: str


def read_paper(file: Path) -> OpenPaper:
    """Reads a plain text whose abstract stands below a line "Abstract", up to the next heading.

    Raises:
        DataError: if there is no such line, or the file is no text.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{file.name} is no plain text: {error}") from error
    found = _ABSTRACT.search(text)
    if found is None:
        raise DataError(f'{file.name} has no line "Abstract" with text and a heading below it')
    body = text[: found.start()] + text[found.end() :]
    return OpenPaper(_REFERENCES.sub("", body), " ".join(found[1].split()))


def summarize_example(file: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Summarizes a paper in both modes.

    Args:
        file: What `read_paper` reads.
        options: Of the command line.
    Returns:
        "id", the name of the file; "title"; and "systems", {mode: what `Judge.score` tells}.
    Raises:
        DataError: if the paper cannot be read or summarized.
    """
    paper = read_paper(file)
    records = {mode: _summarize(file, mode, options) for mode in reversed(MODES)}
    title = records["extract"]["title"]
    judge = Judge(Document.from_sections([("", paper.text)], title=title), paper.abstract)
    texts = {
        mode: " ".join(sentence["text"] for sentence in record["sentences"])
        for mode, record in records.items()
    }
    systems = {mode: asdict(judge.score(Prediction(text, ()))) for mode, text in texts.items()}
    return {"id": file.name, "title": title, "systems": systems}


def _summarize(file: Path, mode: str, options: argparse.Namespace) -> dict[str, Any]:
    """Returns the record that `summarize` prints; what picks is the shipped model."""
    words = ["--mode", mode, "--format", "json", "--length", str(options.length), "--quiet"]
    if mode == "abstract":
        words += ["--strict"] * options.strict + (["--model", options.model] * bool(options.model))
    done = subprocess.run(
        [sys.executable, "-m", "app.cli", str(file), *words], stdout=subprocess.PIPE, text=True
    )
    if done.returncode:
        raise DataError(f"summarize ended with status {done.returncode}: see what it said above")
    return json.loads(done.stdout)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status.

    Args:
        arguments: Words of the command line after the name; None takes those of the process.
    """
    options = _parser().parse_args(arguments)
    command = command_line("eval.example", arguments)
    return exit_status("eval.example", lambda: _run(options, command))


def _run(options: argparse.Namespace, command: str) -> None:
    require_folder_of(options.report)
    files = tqdm(options.files, desc="papers", unit="paper", file=sys.stderr)
    rows = [summarize_example(file, options) for file in files]
    config = {
        "command": command,
        "model": checkpoint_name(options.model),
        "length": options.length,
        "strict": options.strict,
    }
    write_rows(options.report, config, examples=rows)
    print(f"wrote {options.report}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m eval.example",
        description="Summarizes papers with the command `summarize` in both modes, and scores the "
        "summaries against their abstracts. eval.report --shown prints them on its page: give "
        "papers that are our own or openly licensed, such as examples/report.txt.",
    )
    parser.add_argument(
        "files",
        type=Path,
        nargs="+",
        metavar="FILE.txt",
        help='plain text with a line "Abstract" above its abstract',
    )
    add_system_arguments(parser)
    parser.add_argument(
        "--strict", action="store_true", help="as in `summarize`, of the summaries written"
    )
    parser.add_argument(
        "--report", type=Path, required=True, metavar="FILE", help="write the summaries there"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
