"""The tables of `eval.kernels`: shares of what the device reaches, ratios, and a report.

It stands alone, where only PyTorch, Triton and NumPy are installed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Row = dict[str, Any]
_LIMITS = {"gb_s": "copy_gb_s", "tflop_s": "bf16_tflop_s"}


def add_shares(rows: Sequence[Row], limits: Mapping[str, Any]) -> None:
    """Adds to rows of races what share of the measured bandwidth or matrix rate they reach."""
    for row in rows:
        for kind in ("forward", "both"):
            for unit, limit in _LIMITS.items():
                rate = row.get(f"{kind}_{unit}")
                if rate is not None and limits.get(limit):
                    row[f"{kind}_share"] = round(rate / limits[limit], 3)


def add_ratios(rows: Sequence[Row]) -> None:
    """Adds to rows of races how many times the Triton kernel's time they take."""
    ours = {(row["op"], row["case"]): row for row in rows if row.get("contestant") == "triton"}
    for row in rows:
        base = ours.get((row["op"], row["case"]), {})
        for kind in ("forward", "both"):
            theirs, our = row.get(f"{kind}_ms"), base.get(f"{kind}_ms")
            if theirs and our:
                row[f"{kind}_ratio"] = round(theirs / our, 2)
