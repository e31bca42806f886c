"""The rows in which results are told, for the terminal and for Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from eval.measures import RATES
from eval.results import CEILING
from terraformer.section_kind import SectionKind

ROUGE_HEADINGS = {
    "rouge1": "R1",
    "rouge2": "R2",
    "rougeL": "RL",
    "rougeLsum": "RLsum",
    "words": "words",
}
MEASURE_HEADINGS = {
    "coverage": "coverage %",
    "density": "density",
    "compression": "compression",
    "novel_unigrams": "novel words %",
    "novel_bigrams": "novel bigrams %",
    "novel_trigrams": "novel trigrams %",
    "novel_fourgrams": "novel 4-grams %",
    "repeated_trigrams": "repeated trigrams %",
    "redundancy": "redundancy %",
    "near_duplicates": "near-duplicates",
    "road_maps": "road maps",
    "loops": "loops",
    **{name: name.replace("_", " ") + " %" for name in RATES},
}
_DIGITS = {"near_duplicates": 2, "road_maps": 2, "loops": 0}  # the first two are small

Row = dict[str, Any]


def rouge_rows(groups: Mapping[str, Any]) -> list[Row]:
    """Returns a row a group and system: ROUGE, words and share of the gap, with intervals."""
    return [
        {
            "group": group,
            "n": entry["n"],
            "system": name,
            **{
                heading: with_interval(scores[metric], scores[f"{metric}_ci95"])
                for metric, heading in ROUGE_HEADINGS.items()
            },
            **_share(entry, name),
        }
        for group, entry in groups.items()
        for name, scores in entry["systems"].items()
    ]


def measure_rows(groups: Mapping[str, Any]) -> list[Row]:
    """Returns a row a group and system: what is measured beside ROUGE, without intervals.

    The first row of a group is that of the abstracts themselves. What an older report does not have
    is left out.
    """
    return [
        {
            "group": group,
            "system": name,
            **{
                heading: plain(scores[measure], _DIGITS.get(measure, 1))
                for measure, heading in MEASURE_HEADINGS.items()
                if measure in scores
            },
        }
        for group, entry in groups.items()
        for name, scores in {"(abstract)": entry["reference"], **entry["systems"]}.items()
    ]


def length_rows(lengths: Mapping[str, Any]) -> list[Row]:
    """Returns a row a pool of groups, bucket of length and system."""
    return [
        {
            "groups": pool,
            "tokens": bucket,
            "n": entry["n"],
            "system": name,
            **{
                ROUGE_HEADINGS[metric]: with_interval(scores[metric], scores[f"{metric}_ci95"])
                for metric in ("rouge1", "rouge2", "rougeLsum", "words")
            },
            **_share(entry, name),
            **{
                MEASURE_HEADINGS[measure]: plain(scores[measure], 1)
                for measure in ("compression", "redundancy")
            },
        }
        for pool, buckets in lengths.items()
        for bucket, entry in buckets.items()
        for name, scores in entry["systems"].items()
    ]


def section_rows(groups: Mapping[str, Any]) -> list[Row]:
    """Returns a row a group and system: the share of its picks in each kind of section.

    The last column is that of methods and results together, less the oracle's.
    """
    shown = [kind for kind in SectionKind if any(_has(entry, kind) for entry in groups.values())]
    rows: list[Row] = []
    for group, entry in groups.items():
        sections = entry["sections"]
        ceiling = sections["systems"].get(CEILING)
        for name, shares in {"(all sentences)": sections["source"], **sections["systems"]}.items():
            row: Row = {"group": group, "picks of": name}
            row |= {kind.value: plain(shares[kind.value], 0) for kind in shown}
            if ceiling is not None:
                difference = methods_and_results(shares) - methods_and_results(ceiling)
                row["methods + results, less the oracle's"] = f"{round(difference):+d}"
            rows.append(row)
    return rows


def loss_rows(losses: Mapping[str, Any]) -> list[Row]:
    """Returns a row a group and form of the papers: points of ROUGE lost against clean text."""
    return [
        {
            "group": group,
            "n": entry["n"],
            "form": form,
            **{
                f"{ROUGE_HEADINGS[metric]} lost": with_interval(
                    loss[metric], loss[f"{metric}_ci95"]
                )
                for metric in ("rouge1", "rouge2", "rougeL", "rougeLsum")
            },
        }
        for group, entry in losses.items()
        for form, loss in entry["losses"].items()
    ]


def methods_and_results(shares: Mapping[str, float]) -> float:
    """Returns the share of the two kinds of section that extractors tend to pass over."""
    return shares[SectionKind.METHODS.value] + shares[SectionKind.RESULTS.value]


def with_interval(value: float | None, interval: Sequence[float] | None) -> str | None:
    """Returns "52.7 ± 1.4", where ± is half of the 95 % interval's width."""
    if value is None or interval is None:
        return None
    low, high = interval
    return f"{value:z.1f} ± {(high - low) / 2:.1f}"


def systems_of(entries: Iterable[Mapping[str, Any]]) -> list[str]:
    """Returns the names of all systems in entries that `eval.results.summarize` made, in order."""
    return list(dict.fromkeys(name for entry in entries for name in entry["systems"]))


def _share(entry: Mapping[str, Any], name: str) -> Row:
    share = entry.get("share_of_gap", {}).get(name)
    if "share_of_gap" not in entry:
        return {}
    if share is None:
        return {"share of gap": None}
    low, high = share["ci95"]
    return {"share of gap": f"{share['share']:.2f} [{low:.2f}, {high:.2f}]"}


def _has(entry: Mapping[str, Any], kind: SectionKind) -> bool:
    shares = [entry["sections"]["source"], *entry["sections"]["systems"].values()]
    return any(share[kind.value] >= 0.5 for share in shares)


def plain(value: float | None, digits: int) -> str | None:
    """Returns a number with so many digits after the point."""
    return None if value is None else f"{value:.{digits}f}"
