from __future__ import annotations

import pytest

from terraformer.summary import Summary, SummaryOptions, SummarySentence


@pytest.mark.parametrize("length", ["short", "normal", "long", 1, 250])
def test_lengths_that_there_are(length: object) -> None:
    assert SummaryOptions(length=length).length == length  # type: ignore[arg-type]


@pytest.mark.parametrize("length", ["Short", "", 0, -3])
def test_other_lengths_are_refused_by_value(length: object) -> None:
    with pytest.raises(ValueError, match=rf"length \({length!r}\)"):
        SummaryOptions(length=length)  # type: ignore[arg-type]


def test_other_orders_are_refused() -> None:
    with pytest.raises(ValueError, match=r"order \('random'\)"):
        SummaryOptions(order="random")  # type: ignore[arg-type]


def test_text_and_words_are_those_of_the_sentences() -> None:
    sentences = tuple(
        SummarySentence(text, i, "", None, 0, len(text)) for i, text in enumerate(["A b.", "C."])
    )
    assert Summary("", sentences).text == "A b. C."
    assert Summary("", sentences).n_words == 3
    assert Summary("", ()).text == ""
