"""Curves over one another as a picture; needs matplotlib, which the docs extra brings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from terraformer.errors import TerraformerError


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
        logarithmic: Whether both axes are.
    """

    y_label: str
    curves: Sequence[Curve]
    limit: float | None = None
    logarithmic: bool = False


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
    import matplotlib
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
            axes.set_yscale("log")
        axes.set_ylabel(panel.y_label)
        axes.grid(alpha=0.3)
        if len(panel.curves) > 1:
            axes.legend(frameon=False)
    rows[0].set_title(title, fontsize=10)
    rows[-1].set_xlabel(x_label)
    metadata = {"Date": None} if path.suffix == ".svg" else None  # the same file every time
    with matplotlib.rc_context({"svg.hashsalt": "terraformer", "svg.fonttype": "none"}):
        figure.savefig(path, dpi=150, metadata=metadata)
