"""Times and memory of encoding long documents, ours beside full attention and other encoders."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from eval.encoders import ENCODERS, EncoderSizes, prepare_encoder
from eval.measured_process import Measurement, measure
from eval.plot import Curve, Panel, save_panels
from eval.timing import interleave, spread

ENCODE_TOKENS = (4_096, 16_384, 65_536, 131_072)
OURS = "terraformer"
BASELINES = tuple(name for name in ENCODERS if name != OURS)
_MAX_SECONDS = 180.0  # of the rounds of a length
_MIB = 1 << 20


def measure_encode(
    lengths: Sequence[int],
    baselines: Sequence[str],
    sizes: EncoderSizes,
    n_rounds: int,
    limit_bytes: int,
    limit_seconds: float,
) -> list[dict[str, Any]]:
    """Times encoders on one document of random tokens, float32, without gradients.

    Memory is measured first, of each in a process of its own. A baseline that does not manage a
    length within the limits is not timed there, nor tried at longer ones. What took longer than
    three minutes there is not repeated: that run's time counts.

    Args:
        lengths: Tokens of the documents, rising.
        baselines: Of `ENCODERS`.
        sizes: Of all encoders.
        n_rounds: Rounds that are counted; a round is an encoding by each.
        limit_bytes: Most memory of a process.
        limit_seconds: Most time of a process.
    Returns:
        One row a length and baseline: times, memory that the encoding adds at its peak to code and
        weights, and the ratios of baseline to ours.
    """
    rows = []
    names = [OURS, *baselines]
    progress = tqdm(total=len(lengths) * len(names), desc="encoders", file=sys.stderr)
    for n_tokens in lengths:
        at_length = replace(sizes, n_tokens=n_tokens)
        peaks: dict[str, int] = {}
        slow: dict[str, list[float]] = {}
        notes: dict[str, str] = {}
        for name in names:
            result = measure(
                prepare_encoder,
                name,
                at_length,
                limit_bytes=limit_bytes,
                limit_seconds=limit_seconds,
                threads=torch.get_num_threads(),
            )
            if isinstance(result, Measurement):
                peaks[name] = result.run_bytes
                if result.seconds > _MAX_SECONDS:
                    slow[name] = [result.seconds]
            else:
                notes[name] = result.reason
            progress.update()
        works = {name: prepare_encoder(name, at_length) for name in peaks}
        calls = {name: work.run for name, work in works.items() if name not in slow}
        seconds = slow | interleave(calls, n_rounds, max_seconds=_MAX_SECONDS)
        rows += [
            _row(name, n_tokens, seconds, peaks, works, notes) for name in names if name != OURS
        ]
        names = [name for name in names if name in peaks]
        if OURS not in peaks:
            break
    progress.close()
    return rows


def plot_encode(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Draws seconds and memory of all encoders over the length of the document."""
    lengths = sorted({row["tokens"] for row in rows})
    baselines = list(dict.fromkeys(row["baseline"] for row in rows))

    def curves(unit: str, factor: float) -> list[Curve]:
        ours = {row["tokens"]: row[f"ours_{unit}"] for row in rows}
        drawn = [Curve(OURS, lengths, [factor * ours[n] for n in lengths])]
        for name in baselines:
            points = {
                row["tokens"]: row[f"baseline_{unit}"] for row in rows if row["baseline"] == name
            }
            known = [n for n in lengths if points.get(n) is not None]
            drawn.append(Curve(name, known, [factor * points[n] for n in known]))
        return drawn

    panels = [
        Panel("seconds", curves("ms", 1e-3), logarithmic="xy"),
        Panel("memory, MiB", curves("mib", 1.0), logarithmic="xy"),
    ]
    save_panels(path, panels, title="Encoding a document", x_label="tokens")


def _row(
    name: str,
    n_tokens: int,
    seconds: dict[str, list[float]],
    peaks: dict[str, int],
    works: dict[str, Any],
    notes: dict[str, str],
) -> dict[str, Any]:
    row: dict[str, Any] = {
        "name": f"encode-{n_tokens}-vs-{name}",
        "tokens": n_tokens,
        "baseline": name,
        "dtype": "float32",
        "threads": torch.get_num_threads(),
    }
    for column, system in (("ours", OURS), ("baseline", name)):
        managed = system in peaks
        row |= spread(column, seconds[system]) if managed else {f"{column}_ms": None}
        row[f"{column}_mib"] = round(peaks[system] / _MIB) if managed else None
        row[f"{column}_parameters_m"] = (
            round(works[system].n_parameters / 1e6, 1) if managed else None
        )
    both = OURS in peaks and name in peaks
    row["ratio"] = (
        round(statistics.median(seconds[name]) / statistics.median(seconds[OURS]), 2)
        if both
        else None
    )
    row["memory_ratio"] = round(peaks[name] / peaks[OURS], 2) if both else None
    row["ours_us_per_token"] = (
        round(1e6 * statistics.median(seconds[OURS]) / n_tokens, 1) if OURS in peaks else None
    )
    row["note"] = "; ".join(
        f"{system}: {notes[system]}" for system in (OURS, name) if system in notes
    )
    return row
