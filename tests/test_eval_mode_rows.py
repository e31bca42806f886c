"""Both modes side by side, counted by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from scored_papers import prediction, result

from eval.mode_rows import mode_length_rows, mode_rows, tell_faithfulness
from eval.results import summarize, summarize_groups, summarize_lengths


def report(**systems: Any) -> dict[str, Any]:
    papers = [result("a", "pubmed", 3000, **systems), result("b", "arxiv", 9000, **systems)]
    return {
        "all": summarize(papers),
        "groups": summarize_groups(papers),
        "lengths": summarize_lengths(papers),
    }


WRITTEN = replace(
    prediction(
        12.0, numbers=8, unsupported_numbers=1, sentences=4, unsupported_sentences=1, loops=1
    ),
    seconds=2.25,
)
BOTH = report(extract=prediction(20.0), lead=prediction(9.0), abstract=WRITTEN)


def test_rows_are_those_of_the_modes_for_all_papers_and_each_group() -> None:
    rows = mode_rows(BOTH)
    assert [(row["group"], row["n"], row["system"]) for row in rows] == [
        (group, n, mode)
        for group, n in (("all", 2), ("pubmed", 1), ("arxiv", 1))
        for mode in ("extract", "abstract")
    ]
    written = rows[1]
    assert written["R2"] == "12.0 ± 0.0"
    assert written["unsupported numbers %"] == "12.5 ± 0.0"
    assert written["unsupported sentences %"] == "25.0"
    assert (written["loops"], written["seconds"]) == (2, "2.2")
    assert rows[0]["unsupported numbers %"] is None
    assert "seconds" not in rows[0]
    assert rows[3]["loops"] == 1


def test_rows_by_length_have_the_same_columns() -> None:
    rows = mode_length_rows(BOTH)
    assert [(row["tokens"], row["system"]) for row in rows] == [
        ("< 4k", "extract"),
        ("< 4k", "abstract"),
        ("8k–16k", "extract"),
        ("8k–16k", "abstract"),
    ]
    assert rows[3]["unsupported numbers %"] == "12.5 ± 0.0"


def test_faithfulness_is_told_in_a_sentence() -> None:
    assert tell_faithfulness(BOTH, "abstract") == (
        "abstract: 12.5 % [12.5, 12.5] of 16 numbers are not in the paper; loops in 2 of 2 "
        "summaries; 2.2 s a paper"
    )
    assert tell_faithfulness(BOTH, "extract") == (
        "extract: no numbers, no names; loops in 0 of 2 summaries"
    )
