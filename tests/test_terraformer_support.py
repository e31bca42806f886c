from __future__ import annotations

import pytest

from terraformer.support import SourceSupport, names_of, numbers_of, value_of

SOURCE = SourceSupport(
    "BERT in rivers\n\nWe measured 1,250 samples at 0.50 m depth with a BERT model by Smith et al. "
    "in COVID-19 patients, H1N1 apart. The Danube carries 45% of it."
)


@pytest.mark.parametrize(
    ("sentence", "numbers", "names"),
    [
        ("We measured 1250 samples at 0.5 m depth.", (), ()),
        ("We measured 1,251 samples at .5 m depth.", ("1,251",), ()),
        ("The DANUBE carries 45.0 percent, the Rhine 46.", ("46",), ("Rhine",)),
        ("Rhine and danube carry 45%.", (), ()),
        ("RoBERTa beats BERT.", (), ("RoBERTa",)),
        ("Patients had COVID-19 or H1N1, not H3N2.", (), ("H3N2",)),
        ("Two things: Models and Jones.", (), ("Jones",)),
        ("It rose from -45 to +45.", (), ()),
    ],
)
def test_what_the_source_lacks_is_named_as_it_is_written(
    sentence: str, numbers: tuple[str, ...], names: tuple[str, ...]
) -> None:
    assert SOURCE.lacks(sentence) == (numbers, names)


def test_numbers_of_one_value_are_alike() -> None:
    assert numbers_of("1,000 of 1000.0, .5 and 0.50, H1N1, 3.2.1") == [
        "1,000",
        "1000.0",
        ".5",
        "0.50",
        "3.2",
        "1",
    ]
    assert [value_of(n) for n in ("1,000", "1000.0", ".5", "0.50", "000")] == [
        *("1000", "1000", "0.5", "0.5", "0")
    ]


def test_names_are_capitalised_words_but_for_those_that_open() -> None:
    assert names_of("The NASA probe: Voyager left. A mRNA of X") == ["NASA", "mRNA"]
    assert names_of("BERT of Google") == ["BERT", "Google"]
    assert names_of("") == []
