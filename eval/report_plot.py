"""The pictures of docs/results.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from eval.plot import Bars, Curve, Panel, save_bars, save_panels
from eval.results import CEILING
from eval.results_rows import systems_of
from terraformer.section_kind import SectionKind

Entries = Mapping[str, Mapping[str, Any]]  # what `eval.results.summarize` returned, by name


def draw_rouge(path: Path, groups: Entries) -> None:
    """Draws ROUGE-2 of every system by group."""
    save_bars(path, _sized(groups), _bars(groups, "rouge2"), title="ROUGE-2 F1", y_label="percent")


def draw_lengths(path: Path, lengths: Mapping[str, Entries]) -> None:
    """Draws ROUGE-2 of every system by length, for the first pool of groups."""
    pool, buckets = next(iter(lengths.items()))
    title = f"ROUGE-2 F1 by tokens of the paper ({pool})"
    save_bars(path, _sized(buckets), _bars(buckets, "rouge2"), title=title, y_label="percent")


def section_differences(groups: Entries) -> dict[str, dict[str, float]]:
    """Returns {group: {kind of section: points}}, the picks of the first system less the oracle's.

    Groups in which one of them has no known picks are left out.
    """
    first = systems_of(groups.values())[0]
    differences: dict[str, dict[str, float]] = {}
    for group, entry in groups.items():
        picks = entry["sections"]["systems"]
        if first in picks and CEILING in picks:
            differences[group] = {
                kind.value: picks[first][kind.value] - picks[CEILING][kind.value]
                for kind in SectionKind
            }
    return differences


def draw_sections(path: Path, groups: Entries) -> None:
    """Draws `section_differences`, of which there must be some."""
    first, differences = systems_of(groups.values())[0], section_differences(groups)
    kinds = [
        kind.value
        for kind in SectionKind
        if any(abs(difference[kind.value]) >= 0.5 for difference in differences.values())
    ]
    save_bars(
        path,
        kinds,
        [
            Bars(group, [difference[kind] for kind in kinds])
            for group, difference in differences.items()
        ],
        title=f"Share of the picks of {first} less the oracle's, by kind of section",
        y_label="points",
    )


def draw_losses(path: Path, reports: Mapping[str, Mapping[str, Any]]) -> None:
    """Draws the ROUGE-1 that each form of the papers loses, for each report of robustness."""
    categories = list(
        dict.fromkeys(group for report in reports.values() for group in report["losses"])
    )
    bars: list[Bars] = []
    for name, report in reports.items():
        forms = next(iter(report["losses"].values()))["losses"]
        for form in forms:
            found = [
                report["losses"][group]["losses"][form] if group in report["losses"] else None
                for group in categories
            ]
            bars.append(
                Bars(
                    f"{form}, {Path(name).stem}",
                    [entry and entry["rouge1"] for entry in found],
                    [entry and tuple(entry["rouge1_ci95"]) for entry in found],
                )
            )
    save_bars(path, categories, bars, title="ROUGE-1 lost", y_label="points")


def draw_histories(path: Path, histories: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Draws the losses of trainings, those on training papers and below those on validation."""
    panels: list[Panel] = []
    for key, label in (("loss", "training loss"), ("eval_loss", "validation loss")):
        curves = [
            Curve(name, [row["step"] for row in rows], [row[key] for row in rows])
            for name, history in histories.items()
            if (rows := [row for row in history if key in row])
        ]
        if curves:
            panels.append(Panel(label, curves))
    save_panels(path, panels, title="Loss in training", x_label="steps")


def _sized(entries: Entries) -> list[str]:
    return [f"{name}\nn = {entry['n']}" for name, entry in entries.items()]


def _bars(entries: Entries, metric: str) -> list[Bars]:
    bars: list[Bars] = []
    for name in systems_of(entries.values()):
        found = [entry["systems"].get(name) for entry in entries.values()]
        bars.append(
            Bars(
                name,
                [scores and scores[metric] for scores in found],
                [scores and tuple(scores[f"{metric}_ci95"]) for scores in found],
            )
        )
    return bars
