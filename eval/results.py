"""What an evaluation found: means with intervals by group and by length, and the predictions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eval.commit import commit_of_code
from eval.measures import COUNTS, MEANS, RATES, ScoredPrediction
from eval.metrics import bootstrap_means, share_of_gap
from eval.sections import share_of_kinds
from finetune.data import GROUPS

FLOOR, CEILING = "lexrank", "oracle"
LENGTH_LIMITS = (4_000, 8_000, 16_000)
"""Tokens of the source, by the shipped tokenizer, at which a new bucket of length begins."""

POOLS = {
    "pubmed, arxiv, other": ("pubmed", "arxiv", "other"),
    "sumpubmed": ("sumpubmed",),
}
"""Groups reported together by length; the lower-cased one is apart, for its R1 is inflated."""


@dataclass(frozen=True)
class DocumentResult:
    """All systems' summaries of one document.

    Attributes:
        id: Of the paper.
        title: Of the paper, empty if it has none.
        group: In which it is reported.
        n_tokens: Length of the source.
        kinds: How many of the source's sentences stand in each kind of section.
        reference: Scores of the abstract itself.
        systems: The summaries by the system's name.
    """

    id: str
    title: str
    group: str
    n_tokens: int
    kinds: dict[str, int]
    reference: dict[str, float]
    systems: dict[str, ScoredPrediction]


def length_bucket(n_tokens: int) -> str:
    """Returns the name of the bucket that a length belongs to, such as "4k–8k"."""
    names = [f"{limit // 1000}k" for limit in LENGTH_LIMITS]
    buckets = [
        f"< {names[0]}",
        *(f"{low}–{high}" for low, high in pairwise(names)),
        f"≥ {names[-1]}",
    ]
    return buckets[sum(n_tokens >= limit for limit in LENGTH_LIMITS)]


def summarize_groups(results: Sequence[DocumentResult]) -> dict[str, Any]:
    """Returns {group: what `summarize` returns, with "sections"}; empty groups are left out."""
    groups: dict[str, Any] = {}
    for group in GROUPS:
        members = [result for result in results if result.group == group]
        if members:
            groups[group] = summarize(members) | {"sections": _sections(members)}
    return groups


def summarize_lengths(results: Sequence[DocumentResult]) -> dict[str, Any]:
    """Returns {pool of groups: {bucket of length: what `summarize` returns}}, ascending."""
    pools: dict[str, Any] = {}
    for pool, groups in POOLS.items():
        buckets: dict[str, list[DocumentResult]] = {}
        for result in sorted(results, key=lambda result: result.n_tokens):
            if result.group in groups:
                buckets.setdefault(length_bucket(result.n_tokens), []).append(result)
        if buckets:
            pools[pool] = {bucket: summarize(members) for bucket, members in buckets.items()}
    return pools


def summarize(members: Sequence[DocumentResult]) -> dict[str, Any]:
    """Returns means over documents.

    Returns:
        "n"; "median_tokens" of the sources; "systems": {name: {measure: value, "<measure>_ci95":
        [low, high]}}, ROUGE in percent, null where nothing was there to count, each of COUNTS over
        all documents and, where they were measured, mean "seconds" a document; "reference": the
        same of the abstracts; and, where LexRank and the oracle were run, "share_of_gap":
        {name: {"share", "ci95"}} by ROUGE-2.
    """
    names = list(members[0].systems)
    entry: dict[str, Any] = {
        "n": len(members),
        "median_tokens": int(np.median([member.n_tokens for member in members])),
        "systems": {
            name: _summarize_system([member.systems[name].scores for member in members])
            | _mean_seconds([member.systems[name].seconds for member in members])
            for name in names
        },
        "reference": _summarize_system([member.reference for member in members]),
    }
    if {FLOOR, CEILING} <= set(names):
        floor, ceiling = (_column(members, name, "rouge2") for name in (FLOOR, CEILING))
        entry["share_of_gap"] = {
            name: _share(_column(members, name, "rouge2"), floor, ceiling)
            for name in names
            if name not in (FLOOR, CEILING)
        }
    return entry


def _summarize_system(scores: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    columns = [*MEANS, *(name for rate in RATES.values() for name in (rate.part, rate.whole))]
    values = np.array([[score[name] for name in columns] for score in scores])  # [N, columns]
    draws = np.concatenate([values.mean(axis=0, keepdims=True), bootstrap_means(values)])
    by_name = dict(zip(columns, draws.T, strict=True))  # the mean, then those of the resamples
    summary: dict[str, Any] = {}
    for name in MEANS:
        _put(summary, name, by_name[name])
    for name, rate in RATES.items():
        whole = by_name[rate.whole]
        parts = 100 * by_name[rate.part][whole > 0] / whole[whole > 0]
        _put(summary, name, parts if whole[0] > 0 else None)
    summary |= {name: round(sum(score[name] for score in scores)) for name in COUNTS}
    return summary


def _mean_seconds(seconds: Sequence[float | None]) -> dict[str, float]:
    measured = [value for value in seconds if value is not None]
    return {"seconds": round(sum(measured) / len(measured), 2)} if measured else {}


def _put(summary: dict[str, Any], name: str, values: NDArray[np.float64] | None) -> None:
    """Adds a measure of which `values` holds the mean and then those of the resamples."""
    if values is None:
        summary[name] = summary[f"{name}_ci95"] = None
        return
    low, high = np.percentile(values[1:], [2.5, 97.5])
    summary[name] = round(float(values[0]), 3)
    summary[f"{name}_ci95"] = [round(float(low), 3), round(float(high), 3)]


def _column(
    members: Sequence[DocumentResult], system: str, metric: str
) -> NDArray[np.float64]:  # [N]
    return np.array([member.systems[system].scores[metric] for member in members])


def _share(
    ours: NDArray[np.float64], floor: NDArray[np.float64], ceiling: NDArray[np.float64]
) -> dict[str, Any] | None:
    share, low, high = share_of_gap(ours, floor, ceiling)
    if np.isnan([share, low, high]).any():
        return None
    return {"share": round(share, 4), "ci95": [round(low, 4), round(high, 4)]}


def _sections(members: Sequence[DocumentResult]) -> dict[str, Any]:
    """Returns the shares of kinds of section in all sources, and in the picks of each system."""

    def rounded(shares: Mapping[str, float]) -> dict[str, float]:
        return {kind: round(share, 1) for kind, share in shares.items()}

    picked = {
        name: rounded(share_of_kinds(member.systems[name].kinds for member in members))
        for name in members[0].systems
    }
    return {
        "source": rounded(share_of_kinds(member.kinds for member in members)),
        "systems": {name: shares for name, shares in picked.items() if shares},
    }


def predictions_path(report: Path) -> Path:
    """Returns where the predictions that belong to a report are written."""
    return report.with_suffix(".jsonl")


def write_report(
    report: Path, config: Mapping[str, Any], results: Sequence[DocumentResult], **more: Any
) -> None:
    """Writes the report as JSON, and beside it a JSONL of the predictions, a line a document.

    Args:
        report: File to write.
        config: What is needed to repeat the run.
        results: All documents.
        more: Further entries of the report.
    """
    values = {
        "config": dict(config),
        "commit": commit_of_code(),
        "groups": summarize_groups(results),
        **more,
    }
    report.write_text(
        json.dumps(values, indent=2, allow_nan=False, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    with predictions_path(report).open("w", encoding="utf-8") as file:
        for result in results:
            file.write(json.dumps(asdict(result), ensure_ascii=False) + "\n")
