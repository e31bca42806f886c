"""Rows of measurements as tables and reports."""

from __future__ import annotations

import json
from pathlib import Path

from eval.table import describe_machine, format_markdown, format_rows, write_rows


def test_tables_line_up() -> None:
    rows = [
        {"name": "a", "ms": 1.5, "quartiles": [1, 2], "others": {"b": 2, "c": 3}},
        {"name": "longer", "ms": 10.25, "note": None, "extra": 7},
    ]
    assert format_rows(rows) == (
        "name       ms    others  note  extra\n"
        "a         1.5  b 2, c 3     –      –\n"
        "longer  10.25         –     –      7"
    )


def test_markdown_tables() -> None:
    rows = [{"name": "a|b", "ms": 1.5, "quartiles": [1, 2]}, {"name": "c", "note": "x"}]
    assert format_markdown(rows) == (
        "| name | ms | note |\n| --- | --- | --- |\n| a\\|b | 1.5 | – |\n| c | – | x |"
    )


def test_reports_say_what_was_measured_on(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    write_rows(path, {"repeats": 3, **describe_machine()}, rows=[{"name": "a"}], others=[])
    values = json.loads(path.read_text())
    assert values["rows"] == [{"name": "a"}]
    assert values["others"] == []
    assert values["config"]["repeats"] == 3
    assert {"threads", "cpus", "load_average", "torch"} <= values["config"].keys()
    assert "commit" in values
