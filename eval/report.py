"""Command `python -m eval.report`: the results as a page of Markdown, from the JSON reports."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from eval.plot import require_drawable
from eval.report_abstract import abstract_sections, example_page, require_modes
from eval.report_plot import (
    draw_histories,
    draw_lengths,
    draw_losses,
    draw_rouge,
    draw_sections,
    section_differences,
)
from eval.report_section import (
    robustness_sections,
    rouge_sections,
    row_sections,
    source_section,
    tables_of,
    training_sections,
)
from eval.results import predictions_path
from finetune.command import exit_status
from terraformer.errors import DataError

_LAYOUT = {
    "rouge": ("groups", "lengths"),
    "abstract": ("groups", "lengths", "all"),
    "shown": ("examples",),
    "robustness": ("groups", "losses"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status.

    Args:
        arguments: Words of the command line after the name; None takes those of the process.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.abstract is None and (options.shown or options.examples):
        parser.error("--shown and --examples go with --abstract")
    return exit_status("eval.report", lambda: _run(options))


def _run(options: argparse.Namespace) -> None:
    rouge = _load(options.rouge, _LAYOUT["rouge"])
    written = _load(options.abstract, _LAYOUT["abstract"]) if options.abstract else None
    if written is not None:
        require_modes(options.abstract.name, written)
    shown = {path.name: _load(path, _LAYOUT["shown"]) for path in options.shown}
    examples = _load_predictions(options.abstract) if options.examples else []
    robustness = {path.name: _load(path, _LAYOUT["robustness"]) for path in options.robustness}
    rows = {path.name: _load(path) for path in options.rows}
    for name, report in rows.items():
        if not tables_of(report):
            raise DataError(f"{name} holds no rows: give a report of eval.speed, eval.memory …")
    histories = {path.parent.resolve().name: _load_history(path) for path in options.history}

    drawings: dict[str, Callable[[Path], None]] = {
        "rouge": lambda path: draw_rouge(path, rouge["groups"]),
        "lengths": lambda path: draw_lengths(path, rouge["lengths"]),
    }
    if section_differences(rouge["groups"]):
        drawings["sections"] = lambda path: draw_sections(path, rouge["groups"])
    if robustness:
        drawings["robustness"] = lambda path: draw_losses(path, robustness)
    if histories:
        drawings["history"] = lambda path: draw_histories(path, histories)
    plots: dict[str, str] = {}
    for name, draw in drawings.items() if options.plot else ():
        path = options.output.with_name(f"{options.output.stem}-{name}.svg")
        require_drawable(path)
        draw(path)
        plots[name] = path.name

    papers = [row for report in shown.values() for row in report["examples"]]
    sources = {options.rouge.name: rouge}
    if written is not None:
        sources |= {options.abstract.name: written, **shown}
    parts = [
        "# Results",
        "Made by `python -m eval.report` from the reports named at the end; not written by hand.",
        *rouge_sections(rouge, plots),
        *(abstract_sections(written, papers) if written is not None else ()),
        *robustness_sections(list(robustness.values()), plots),
        *training_sections(plots),
        *row_sections(rows),
        *source_section({**sources, **robustness, **rows}),
    ]
    options.output.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    for name in (options.output.name, *plots.values()):
        print(f"wrote {options.output.with_name(name)}", file=sys.stderr)
    if written is not None and options.examples:
        options.examples.write_text(example_page(written["config"], examples), encoding="utf-8")
        print(f"wrote {options.examples}", file=sys.stderr)


def _load(path: Path, entries: Sequence[str] = ()) -> dict[str, Any]:
    """Reads a report and makes sure that it is of the right kind.

    Raises:
        DataError: if it is no JSON object, or lacks one of `entries`.
    """
    report = _read(path)
    if not isinstance(report, dict):
        raise DataError(f"{path.name} is no report of an evaluation: it holds no JSON object")
    missing = [entry for entry in entries if entry not in report]
    if missing:
        raise DataError(
            f"{path.name} lacks {', '.join(missing)}: it was made by another command or by an "
            "older version; make it again"
        )
    return report


def _load_predictions(report: Path) -> list[dict[str, Any]]:
    """Reads what was predicted in an evaluation.

    Raises:
        DataError: if the file beside the report is missing.
    """
    path = predictions_path(report)
    if not path.exists():
        raise DataError(f"{path} is missing: eval.rouge wrote it beside {report.name}")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _load_history(path: Path) -> list[dict[str, Any]]:
    history = _read(path)
    if not isinstance(history, list) or not any("step" in row for row in history):
        raise DataError(f"{path.name} is no history.json of a training")
    return history


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path.name} is no JSON file: {error}") from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m eval.report",
        description="Writes the results of evaluations as a page of Markdown, with the command "
        "and the commit that made each report. No text of a paper is in it, except summaries "
        "of the papers that --shown names.",
    )
    parser.add_argument("output", type=Path, metavar="FILE.md", help="page to write")
    parser.add_argument(
        "--rouge", type=Path, required=True, metavar="FILE", help="report of eval.rouge"
    )
    parser.add_argument(
        "--abstract",
        type=Path,
        metavar="FILE",
        help="report of eval.rouge --mode both: written summaries beside picked ones",
    )
    parser.add_argument(
        "--shown",
        type=Path,
        nargs="+",
        default=(),
        metavar="FILE",
        help="reports of eval.example, whose summaries are printed in full",
    )
    parser.add_argument(
        "--examples",
        type=Path,
        metavar="FILE.md",
        help="also print the summaries of five papers of --abstract, from the best to the worst, "
        "to this file; it holds text of the papers, so keep it to yourself",
    )
    parser.add_argument(
        "--robustness",
        type=Path,
        nargs="+",
        default=(),
        metavar="FILE",
        help="reports of eval.robustness",
    )
    parser.add_argument(
        "--history",
        type=Path,
        nargs="+",
        default=(),
        metavar="FILE",
        help="history.json of trainings, named by their folders; shown in a plot",
    )
    parser.add_argument(
        "--rows",
        type=Path,
        nargs="+",
        default=(),
        metavar="FILE",
        help="reports of eval.speed, eval.learning, eval.memory and others that hold rows",
    )
    parser.add_argument(
        "--plot", action="store_true", help="draw plots beside the page, as SVG files"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
