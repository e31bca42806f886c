"""Curves and bars as a picture; needs matplotlib, which the docs extra brings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from terraformer.errors import TerraformerError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Curve:
    """A line through points.

    Attributes:
        name: For the legend.
        x, y: The points, as many of each.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]


@dataclass(frozen=True)
class Panel:
    """One pair of axes.

    Attributes:
        y_label: What is measured, with its unit.
        curves: Lines of it.
        limit: A level to compare with, drawn dashed; None draws none.
        logarithmic: Which axes are: "x", "xy" or none.
    """

    y_label: str
    curves: Sequence[Curve]
    limit: float | None = None
    logarithmic: Literal["", "x", "xy"] = ""


@dataclass(frozen=True)
class Bars:
    """Bars of one colour.

    Attributes:
        name: For the legend.
        values: A height for each category; None draws no bar.
        intervals: (low, high) of each height, drawn as a line; None draws none.
    """

    name: str
    values: Sequence[float | None]
    intervals: Sequence[tuple[float, float] | None] | None = None


def require_drawable(path: Path) -> None:
    """Makes sure before the work starts that its curves can be drawn to `path`.

    Raises:
        TerraformerError: if matplotlib is missing, or does not know the format.
    """
    try:
        from matplotlib.backend_bases import FigureCanvasBase
    except ImportError as error:
        raise TerraformerError(
            "drawing needs matplotlib: install it with `pip install matplotlib`, "
            "or leave --plot out"
        ) from error
    known = FigureCanvasBase.get_supported_filetypes()
    if path.suffix.removeprefix(".") not in known:
        raise TerraformerError(
            f"cannot draw {path.name}: its ending must be one of {', '.join(sorted(known))}"
        )


def save_panels(path: Path, panels: Sequence[Panel], *, title: str, x_label: str) -> None:
    """Draws panels under one another over the same x axis, the first one larger.

    Args:
        path: File to write; its ending, such as .svg or .png, chooses the format.
        panels: At least one.
        title: Above all.
        x_label: Below the last.
    Raises:
        TerraformerError: if matplotlib is missing or does not know the format.
    """
    require_drawable(path)
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.0, 3.2 + 1.8 * (len(panels) - 1)), layout="constrained")
    rows = figure.subplots(
        len(panels), sharex=True, squeeze=False, height_ratios=[2.5] + [1] * (len(panels) - 1)
    )[:, 0]
    for axes, panel in zip(rows, panels, strict=True):
        for curve in panel.curves:
            axes.plot(curve.x, curve.y, marker=".", linewidth=1.4, label=curve.name)
        if panel.limit is not None:
            axes.axhline(panel.limit, color="grey", linestyle="--", linewidth=1)
        if panel.logarithmic:
            axes.set_xscale("log", base=2)
        if "y" in panel.logarithmic:
            axes.set_yscale("log")
        axes.set_ylabel(panel.y_label)
        axes.grid(alpha=0.3)
        if len(panel.curves) > 1:
            axes.legend(frameon=False)
    rows[0].set_title(title, fontsize=10)
    rows[-1].set_xlabel(x_label)
    _save(path, figure)


def save_bars(
    path: Path, categories: Sequence[str], bars: Sequence[Bars], *, title: str, y_label: str
) -> None:
    """Draws bars side by side, a group of them for each category.

    Args:
        path: File to write; its ending, such as .svg or .png, chooses the format.
        categories: Names below the groups.
        bars: One set a colour, each with as many values as there are categories.
        title: Above all.
        y_label: What is measured, with its unit.
    Raises:
        TerraformerError: if matplotlib is missing or does not know the format.
    """
    require_drawable(path)
    from matplotlib.figure import Figure

    figure = Figure(figsize=(max(5.0, 1.5 + 1.3 * len(categories)), 3.4), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / len(bars)
    for i, entry in enumerate(bars):
        places = [
            category + (i - (len(bars) - 1) / 2) * width for category in range(len(categories))
        ]
        shown = [j for j, value in enumerate(entry.values) if value is not None]
        values = [entry.values[j] or 0.0 for j in shown]
        drawn = axes.bar([places[j] for j in shown], values, width, label=entry.name)
        if entry.intervals is not None:
            ends = [entry.intervals[j] or (0.0, 0.0) for j in shown]
            errors = [
                [max(0.0, value - low) for value, (low, _) in zip(values, ends, strict=True)],
                [max(0.0, high - value) for value, (_, high) in zip(values, ends, strict=True)],
            ]
            centres = [patch.get_x() + width / 2 for patch in drawn]
            axes.errorbar(centres, values, errors, fmt="none", ecolor="black", linewidth=0.8)
    axes.set_xticks(range(len(categories)), categories)
    axes.set_ylabel(y_label)
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
    axes.set_title(title, fontsize=10)
    if len(bars) > 1:
        axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    _save(path, figure)


def _save(path: Path, figure: Figure) -> None:
    import matplotlib

    metadata = {"Date": None} if path.suffix == ".svg" else None  # the same file every time
    with matplotlib.rc_context({"svg.hashsalt": "terraformer", "svg.fonttype": "none"}):
        figure.savefig(path, dpi=150, metadata=metadata)
