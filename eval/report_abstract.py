"""What docs/results.md says of written summaries, and the page of examples beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from eval.mode_rows import mode_length_rows, mode_rows, tell_faithfulness
from eval.report_example import Example, choose_examples, format_example
from eval.report_section import explain_measures
from eval.results_rows import measure_rows
from eval.table import format_markdown
from terraformer.errors import DataError
from terraformer.summary import MODES


def abstract_sections(report: Mapping[str, Any], shown: Sequence[Example]) -> list[str]:
    """Returns what a report of `eval.rouge --mode both` tells of both modes side by side.

    Args:
        report: Its values.
        shown: Papers whose summaries may be printed, as `eval.example` found them.
    """
    config = report["config"]
    strict = (
        " Sentences with numbers or names that the paper does not hold are left out (--strict)."
        if config["strict"]
        else ""
    )
    examples = [part for row in shown for part in format_example(row)]
    return [
        "## Abstract mode",
        f"{config['n_documents']} papers of the {config['split']} split, each summarized in both "
        f"modes: abstract is written by {config['model'] or 'the shipped model that writes'}, "
        f"extract picked by the shipped model.{strict} F1 in percent; ± is half the width of the "
        "95 % bootstrap interval over documents. Seconds are wall-clock time on the device "
        f"{config['device']}, papers at once: {config['papers_at_once']}.",
        "\n".join(f"- {tell_faithfulness(report, mode)}" for mode in reversed(MODES)),
        format_markdown(mode_rows(report)),
        "By tokens of the paper:",
        format_markdown(mode_length_rows(report)),
        "More measures, and those of the abstracts themselves:",
        explain_measures(config),
        format_markdown(measure_rows(report["groups"])),
        *(["Summaries in full, of papers that may be shown:"] if examples else []),
        *examples,
    ]


def example_page(config: Mapping[str, Any], rows: Sequence[Example]) -> str:
    """Returns a page with five papers of an evaluation, good ones and bad ones.

    Args:
        config: Of the report.
        rows: Predictions beside it.
    """
    parts = [
        "# Examples",
        f"Five of {len(rows)} papers of the {config['split']} split, by ROUGE-2 in abstract mode: "
        "the best, the quartiles and the worst. What stands here is taken from the papers, whose "
        "licences differ: this page is for reading, not for sharing.",
    ]
    for place, row in choose_examples(rows).items():
        parts += format_example(row, place)
    return "\n\n".join(parts) + "\n"


def require_modes(name: str, report: Mapping[str, Any]) -> None:
    """Makes sure that both modes are in a report.

    Raises:
        DataError: if one is missing.
    """
    missing = [mode for mode in MODES if mode not in report["all"]["systems"]]
    if missing:
        raise DataError(
            f"{name} lacks the mode {', '.join(missing)}: make it with eval.rouge --mode both"
        )
