"""Shares of picks by kind of section."""

from __future__ import annotations

import pytest

from eval.sections import count_kinds, share_of_kinds
from terraformer.document import Document
from terraformer.section_kind import SectionKind

PAPER = Document.from_sections(
    [
        ("1 Introduction", "Bees dance. Foxes sleep."),
        ("2 Methods", "We watched them."),
        ("3 Results", "They danced. They slept. They ate."),
    ]
)


def test_sentences_are_counted_by_the_kind_of_their_section() -> None:
    assert count_kinds(PAPER, range(6)) == {"introduction": 2, "methods": 1, "results": 3}
    assert count_kinds(PAPER, [5, 0, 4]) == {"introduction": 1, "results": 2}
    assert count_kinds(PAPER, []) == {}


def test_shares_are_of_all_sentences_and_not_means_of_shares() -> None:
    shares = share_of_kinds([{"results": 3}, {"methods": 1, "results": 1}, {}])
    assert list(shares) == [kind.value for kind in SectionKind]
    assert shares["results"] == pytest.approx(80)
    assert shares["methods"] == pytest.approx(20)
    assert sum(shares.values()) == pytest.approx(100)
    assert share_of_kinds([{}]) == {}
