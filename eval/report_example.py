"""Whole summaries for a reader: which papers are shown, and how."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from eval.results_rows import ROUGE_HEADINGS, Row, plain
from eval.table import format_markdown
from terraformer.summary import MODES

PLACES = {
    "best": 1.0,
    "upper quartile": 0.75,
    "median": 0.5,
    "lower quartile": 0.25,
    "worst": 0.0,
}
"""Which papers are shown, in the order of their ROUGE-2 in abstract mode."""

_SHARES = {
    "coverage": "coverage %",
    "density": "density",
    "novel_bigrams": "novel bigrams %",
    "repeated_trigrams": "repeated trigrams %",
}
_ACTIVE = re.compile(r"[\\`*_<>\[\]#|$~&]")

Example = Mapping[str, Any]  # "id", "title", and "systems" with a scored prediction a mode


def choose_examples(rows: Sequence[Example]) -> dict[str, Example]:
    """Returns one paper for each of PLACES; with fewer papers than places some stand twice.

    Args:
        rows: Predictions of an evaluation with both modes, at least one; of equal scores the
            smaller id comes first.
    """
    ordered = sorted(
        rows, key=lambda row: (row["systems"]["abstract"]["scores"]["rouge2"], row["id"])
    )
    last = len(ordered) - 1
    return {name: ordered[round(place * last)] for name, place in PLACES.items()}


def format_example(row: Example, place: str = "") -> list[str]:
    """Returns a paper's summaries as parts of Markdown: scores, then the text of each mode.

    Args:
        row: The paper.
        place: Where it stands among others, such as "best".
    """
    title = escaped(row["title"]) or "Without a title"
    parts = [
        f"### {place.capitalize()}: {title}" if place else f"### {title}",
        f"Paper `{row['id']}`.",
        format_markdown([_scores(row, mode) for mode in MODES]),
    ]
    for mode in reversed(MODES):
        prediction = row["systems"][mode]
        parts += [f"**{mode.capitalize()}**", f"> {escaped(prediction['text']) or '(nothing)'}"]
        if prediction["unsupported"]:
            parts.append(f"Not in the paper: {escaped(', '.join(prediction['unsupported']))}.")
    return parts


def escaped(text: str) -> str:
    """Returns a text as Markdown that shows it, on one line."""
    return _ACTIVE.sub(r"\\\g<0>", " ".join(text.split()))


def _scores(row: Example, mode: str) -> Row:
    prediction = row["systems"][mode]
    scores = prediction["scores"]
    cells: Row = {"mode": mode}
    for metric in ("rouge1", "rouge2", "rougeLsum"):
        cells[ROUGE_HEADINGS[metric]] = plain(scores[metric], 1)
    cells["words"] = plain(scores["words"], 0)
    cells |= {heading: plain(scores[name], 1) for name, heading in _SHARES.items()}
    for what in ("numbers", "names"):
        cells[f"unsupported {what}"] = f"{scores[f'unsupported_{what}']:.0f} of {scores[what]:.0f}"
    cells["loop"] = "yes" if scores["loops"] else "no"
    if prediction["seconds"] is not None:
        cells["seconds"] = plain(prediction["seconds"], 1)
    return cells
