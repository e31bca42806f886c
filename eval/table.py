"""Rows of measurements: a table for reading, and a report with what they were measured on."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from eval.commit import commit_of_code


def format_rows(rows: Sequence[Mapping[str, Any]]) -> str:
    """Lays out rows: text to the left, numbers to the right, – for what a row lacks.

    Columns are in the order in which rows first have them; those of lists are left out.
    """
    names = _column_names(rows)
    columns = [[_cell(row.get(name)) for row in rows] for name in names]
    is_text = [any(isinstance(row.get(name), str) for row in rows) for name in names]
    widths = [max(map(len, [name, *column])) for name, column in zip(names, columns, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if left else cell.rjust(width)
            for cell, width, left in zip(line, widths, is_text, strict=True)
        ).rstrip()
        for line in [names, *zip(*columns, strict=True)]
    )


def format_markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """Lays out rows as a Markdown table, – for what a row lacks; columns as in `format_rows`."""
    names = _column_names(rows)
    lines = [names, ["---"] * len(names)]
    lines += [[_cell(row.get(name)) for name in names] for row in rows]
    return "\n".join(
        f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines
    )


def _column_names(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(
        dict.fromkeys(
            name for row in rows for name, value in row.items() if not isinstance(value, list)
        )
    )


def describe_machine() -> dict[str, Any]:
    """Returns what a reader of measurements must know of the machine and its load."""
    return {
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load_average": [round(value, 1) for value in os.getloadavg()],
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def write_rows(
    path: Path, config: Mapping[str, Any], **tables: Sequence[Mapping[str, Any]]
) -> None:
    """Writes tables as JSON, each under its name, beside `config` and the commit of the code."""
    values = {"config": dict(config), "commit": commit_of_code(), **tables}
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    return (
        ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else str(value)
    )
