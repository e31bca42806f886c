"""Written summaries beside picked ones: the rows of both, and what they come to in a sentence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from eval.results_rows import MEASURE_HEADINGS, ROUGE_HEADINGS, Row, plain, with_interval
from terraformer.summary import MODES

ALL = "all"
"""Entry of a report, and name of a row, for all its papers together."""

_SHOWN = (
    "coverage",
    "density",
    "novel_bigrams",
    "repeated_trigrams",
    "unsupported_names",
    "unsupported_sentences",
)


def mode_rows(report: Mapping[str, Any]) -> list[Row]:
    """Returns a row a mode, for all papers and for each group.

    Args:
        report: Values of a report of `eval.rouge`, at least "all" and "groups".
    """
    entries = {ALL: report[ALL], **report["groups"]}
    return [
        {"group": group, "n": entry["n"], **row}
        for group, entry in entries.items()
        for row in _rows_of(entry)
    ]


def mode_length_rows(report: Mapping[str, Any]) -> list[Row]:
    """Returns a row a pool of groups, bucket of length and mode.

    Args:
        report: Values of a report of `eval.rouge`, at least "lengths".
    """
    return [
        {"groups": pool, "tokens": bucket, "n": entry["n"], **row}
        for pool, buckets in report["lengths"].items()
        for bucket, entry in buckets.items()
        for row in _rows_of(entry)
    ]


def tell_faithfulness(report: Mapping[str, Any], mode: str) -> str:
    """Returns in a sentence how much a mode made up, looped and took, over all papers.

    Args:
        report: Values of a report of `eval.rouge`, at least "all".
        mode: One that was run.
    """
    scores = report[ALL]["systems"][mode]
    parts = [
        f"{_share(scores, f'unsupported_{what}')} of {scores[what]:,} {what}"
        for what in ("numbers", "names")
        if scores[what]
    ]
    told = f"{' and '.join(parts)} are not in the paper; " if parts else "no numbers, no names; "
    told += f"loops in {scores['loops']} of {report[ALL]['n']:,} summaries"
    if "seconds" in scores:
        told += f"; {scores['seconds']:.1f} s a paper"
    return f"{mode}: {told}"


def _share(scores: Mapping[str, Any], name: str) -> str:
    low, high = scores[f"{name}_ci95"]
    return f"{scores[name]:.1f} % [{low:.1f}, {high:.1f}]"


def _rows_of(entry: Mapping[str, Any]) -> Iterator[Row]:
    for name in MODES:
        scores = entry["systems"].get(name)
        if scores is None:
            continue
        row: Row = {"system": name}
        for metric in ("rouge1", "rouge2", "rougeLsum", "words"):
            row[ROUGE_HEADINGS[metric]] = with_interval(scores[metric], scores[f"{metric}_ci95"])
        number = "unsupported_numbers"
        row[MEASURE_HEADINGS[number]] = with_interval(scores[number], scores[f"{number}_ci95"])
        row |= {MEASURE_HEADINGS[measure]: plain(scores[measure], 1) for measure in _SHOWN}
        row["loops"] = scores["loops"]
        if "seconds" in scores:
            row["seconds"] = plain(scores["seconds"], 1)
        yield row
