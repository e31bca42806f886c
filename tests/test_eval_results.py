"""Means, rates and buckets of results, counted by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from scored_papers import prediction, result

from eval.results import (
    length_bucket,
    predictions_path,
    summarize,
    summarize_groups,
    summarize_lengths,
    write_report,
)
from eval.results_rows import length_rows, measure_rows, rouge_rows, section_rows


@pytest.mark.parametrize(
    ("n_tokens", "bucket"),
    [(0, "< 4k"), (3999, "< 4k"), (4000, "4k–8k"), (15_999, "8k–16k"), (16_000, "≥ 16k")],
)
def test_buckets_begin_at_their_limit(n_tokens: int, bucket: str) -> None:
    assert length_bucket(n_tokens) == bucket


def test_rates_are_counted_over_all_documents() -> None:
    few = prediction(1.0, numbers=1, unsupported_numbers=1)
    many = prediction(3.0, numbers=9, unsupported_numbers=0)
    entry = summarize([result("a", "arxiv", 10, x=few), result("b", "arxiv", 30, x=many)])
    assert entry["n"] == 2
    assert entry["median_tokens"] == 20
    scores = entry["systems"]["x"]
    assert scores["rouge2"] == 2.0
    assert scores["unsupported_numbers"] == pytest.approx(10.0)  # a mean of rates would be 50
    low, high = scores["unsupported_numbers_ci95"]
    assert (low, high) == (0.0, 100.0)
    assert scores["unsupported_names"] is None
    assert "share_of_gap" not in entry


def test_counts_are_summed_and_seconds_averaged() -> None:
    slow = replace(prediction(1.0, loops=1, numbers=2), seconds=4.0)
    fast = replace(prediction(1.0, loops=1, numbers=3), seconds=1.0)
    papers = [result("a", "arxiv", 10, x=slow, y=slow), result("b", "pubmed", 9, x=fast, y=fast)]
    scores = summarize(papers)["systems"]["x"]
    assert (scores["loops"], scores["numbers"], scores["names"]) == (2, 5, 0)
    assert scores["seconds"] == 2.5
    assert "seconds" not in summarize(papers)["reference"]
    assert slow == replace(slow, seconds=9.0)  # what was measured of the summary is the same


def test_rows_of_an_older_report_lack_what_it_lacks() -> None:
    groups = summarize_groups([result("a", "pubmed", 100, x=prediction(1.0, numbers=1))])
    entry = groups["pubmed"]
    for scores in (entry["reference"], entry["systems"]["x"]):
        for name in ("loops", "novel_fourgrams", "unsupported_sentences"):
            del scores[name]
    _, row = measure_rows(groups)
    assert row["unsupported numbers %"] == "0.0"
    assert not {"loops", "novel 4-grams %", "unsupported sentences %"} & set(row)


def test_share_of_the_gap_and_systems_without_a_gap() -> None:
    papers = [
        result(
            str(i),
            "pubmed",
            5000,
            ours=prediction(12.0 + i),
            lexrank=prediction(10.0 + i),
            oracle=prediction(20.0 + i),
        )
        for i in range(4)
    ]
    share = summarize(papers)["share_of_gap"]
    assert share == {"ours": {"share": 0.2, "ci95": [0.2, 0.2]}}
    closed = [
        result("a", "pubmed", 1, ours=prediction(1), lexrank=prediction(2), oracle=prediction(2))
    ]
    assert summarize(closed)["share_of_gap"] == {"ours": None}


def test_groups_and_lengths_hold_every_document_once() -> None:
    papers = [
        result("a", "pubmed", 3000, x=prediction(1, {"results": 1})),
        result("b", "arxiv", 20_000, x=prediction(2, {"results": 1, "methods": 2})),
        result("c", "other", 17_000, x=prediction(4)),
        result("d", "sumpubmed", 5000, x=prediction(8)),
    ]
    groups, lengths = summarize_groups(papers), summarize_lengths(papers)
    assert {group: entry["n"] for group, entry in groups.items()} == dict.fromkeys(
        ("pubmed", "sumpubmed", "arxiv", "other"), 1
    )
    assert {pool: list(buckets) for pool, buckets in lengths.items()} == {
        "pubmed, arxiv, other": ["< 4k", "≥ 16k"],
        "sumpubmed": ["4k–8k"],
    }
    assert lengths["pubmed, arxiv, other"]["≥ 16k"]["systems"]["x"]["rouge2"] == 3.0
    sections = groups["arxiv"]["sections"]
    assert sections["source"]["methods"] == 75
    assert sections["systems"]["x"]["methods"] == pytest.approx(66.7)
    assert groups["other"]["sections"]["systems"] == {}


def test_rows_tell_what_was_found() -> None:
    papers = [
        result(
            "a",
            "pubmed",
            100,
            ours=prediction(12, {"introduction": 1}, coverage=99, road_maps=1, numbers=2),
            lexrank=prediction(10, {"results": 1, "introduction": 1}),
            oracle=prediction(20, {"methods": 1, "results": 2, "introduction": 1}),
        )
    ]
    groups = summarize_groups(papers)
    ours = rouge_rows(groups)[0]
    assert ours["system"] == "ours"
    assert ours["R2"] == "12.0 ± 0.0"
    assert ours["share of gap"] == "0.20 [0.20, 0.20]"
    abstract, measures, *_ = measure_rows(groups)
    assert (abstract["system"], abstract["novel bigrams %"]) == ("(abstract)", "60.0")
    assert measures["coverage %"] == "99.0"
    assert measures["road maps"] == "1.00"
    assert measures["unsupported numbers %"] == "0.0"
    assert measures["unsupported names %"] is None
    (row,) = [row for row in length_rows(summarize_lengths(papers)) if row["system"] == "ours"]
    assert (row["groups"], row["tokens"], row["n"]) == ("pubmed, arxiv, other", "< 4k", 1)
    sections = {row["picks of"]: row for row in section_rows(groups)}
    difference = "methods + results, less the oracle's"
    assert sections["ours"]["introduction"] == "100"
    assert sections["ours"][difference] == "-75"
    assert sections["lexrank"][difference] == "-25"
    assert sections["oracle"][difference] == "+0"
    assert sections["(all sentences)"]["methods"] == "75"


def test_reports_hold_no_nan_and_lie_beside_their_predictions(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    papers = [result("a", "other", 100, x=prediction(12, {"results": 2}))]
    write_report(report, {"limit": 1}, papers, lengths=summarize_lengths(papers))
    values = json.loads(report.read_text())
    assert values["config"] == {"limit": 1}
    assert values["lengths"].keys() == {"pubmed, arxiv, other"}
    (line,) = [json.loads(line) for line in predictions_path(report).open()]
    assert line["n_tokens"] == 100
    assert line["systems"]["x"]["kinds"] == {"results": 2}
