"""Bars as pictures."""

from __future__ import annotations

import re
from pathlib import Path

from eval.plot import Bars, save_bars


def test_bars_stand_where_there_are_values(tmp_path: Path) -> None:
    bars = [Bars("ours", [1.0, 4.0], [(0.5, 2.0), None]), Bars("theirs", [2.0, None])]
    path = tmp_path / "bars.svg"
    save_bars(path, ["one", "two"], bars, title="Bars", y_label="points")
    picture = path.read_text()
    for text in ("one", "two", "ours", "theirs", "Bars", "points"):
        assert f">{text}</text>" in picture
    n_colours = {colour: picture.count(f"fill: {colour}") for colour in ("#1f77b4", "#ff7f0e")}
    assert n_colours == {"#1f77b4": 2 + 1, "#ff7f0e": 1 + 1}  # each once more in the legend
    assert not re.search(r"<dc:date>", picture)
    save_bars(tmp_path / "again.svg", ["one", "two"], bars, title="Bars", y_label="points")
    assert (tmp_path / "again.svg").read_text() == picture
