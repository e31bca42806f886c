"""What an evaluation found: means with intervals, as a table and as JSON, and the predictions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eval.commit import commit_of_code
from eval.metrics import METRIC_NAMES, confidence_interval, share_of_gap
from finetune.data import GROUPS

_HEADINGS = ("R1", "R2", "RL", "RLsum", "words")


@dataclass(frozen=True)
class ScoredPrediction:
    """A system's summary of one document.

    Attributes:
        text: The summary.
        sentences: Indices of the source sentences it was taken from; empty if none are known.
        scores: Value of each of `METRIC_NAMES`.
    """

    text: str
    sentences: tuple[int, ...]
    scores: dict[str, float]


@dataclass(frozen=True)
class DocumentResult:
    """All systems' summaries of one document, by the system's name."""

    id: str
    group: str
    systems: dict[str, ScoredPrediction]


def summarize_groups(results: Sequence[DocumentResult]) -> dict[str, Any]:
    """Returns {group: {"n", "systems": {name: {metric: mean, "<metric>_ci95": [low, high]}}}}.

    Means are over the group's documents, ROUGE in percent; groups without documents are left out.
    """
    groups: dict[str, Any] = {}
    for group in GROUPS:
        members = [result for result in results if result.group == group]
        if members:
            systems = {name: _summarize(members, name) for name in members[0].systems}
            groups[group] = {"n": len(members), "systems": systems}
    return groups


def _summarize(members: Sequence[DocumentResult], system: str) -> dict[str, Any]:
    summary: dict[str, Any] = {}
    for metric in METRIC_NAMES:
        values = _column(members, system, metric)
        low, high = confidence_interval(values)
        summary[metric] = round(float(values.mean()), 3)
        summary[f"{metric}_ci95"] = [round(low, 3), round(high, 3)]
    return summary


def _column(
    members: Sequence[DocumentResult], system: str, metric: str
) -> NDArray[np.float64]:  # [N]
    return np.array([member.systems[system].scores[metric] for member in members])


def format_table(groups: dict[str, Any]) -> str:
    """Lays out `summarize_groups` for reading; ± is half of the 95 % interval's width."""
    lines = [
        f"{'group':<10} {'n':>5}  {'system':<12}"
        + "".join(f"{heading:>15}" for heading in _HEADINGS)
    ]
    for group, entry in groups.items():
        for name, scores in entry["systems"].items():
            cells = []
            for metric in METRIC_NAMES:
                low, high = scores[f"{metric}_ci95"]
                cells.append(f"{scores[metric]:>8.1f} ± {(high - low) / 2:<4.1f}")
            lines.append(f"{group:<10} {entry['n']:>5}  {name:<12}" + "".join(cells).rstrip())
    return "\n".join(lines)


def format_shares(results: Sequence[DocumentResult], system: str) -> str:
    """Tells by ROUGE-2 how much of the way from LexRank to the oracle `system` has gone.

    Empty unless both were run.
    """
    lines = []
    for group in GROUPS:
        members = [result for result in results if result.group == group]
        if members and {"lexrank", "oracle"} <= members[0].systems.keys():
            share, low, high = share_of_gap(
                *(_column(members, name, "rouge2") for name in (system, "lexrank", "oracle"))
            )
            lines.append(f"{group:<10} {share:5.2f}  [{low:.2f}, {high:.2f}]")
    if not lines:
        return ""
    return "\n".join([f"R2 share of the gap from lexrank to oracle, {system}, 95 %:", *lines])


def predictions_path(report: Path) -> Path:
    """Returns where the predictions that belong to a report are written."""
    return report.with_suffix(".jsonl")


def write_report(report: Path, config: dict[str, Any], results: Sequence[DocumentResult]) -> None:
    """Writes the report as JSON, and beside it a JSONL of the predictions, a line a document."""
    values = {"config": config, "commit": commit_of_code(), "groups": summarize_groups(results)}
    report.write_text(json.dumps(values, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    with predictions_path(report).open("w", encoding="utf-8") as file:
        for result in results:
            file.write(json.dumps(asdict(result), ensure_ascii=False) + "\n")
