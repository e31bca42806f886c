from __future__ import annotations

import numpy as np

from terraformer.document import Document
from terraformer.selectable import selectable_sentences


def test_prose_of_a_readable_length_may_be_picked() -> None:
    document = Document.from_sections(
        [
            ("", "Too short here."),
            ("", "This sentence has just enough words."),
            ("", "word " * 91),
            ("", "x = 3 + 4 / 5 * 9 - 12 ** 8 ( 99 )"),
        ]
    )
    np.testing.assert_array_equal(selectable_sentences(document), [False, True, False, False])
    assert selectable_sentences(Document.from_sections([("", "One.")])).all()


def test_the_rest_of_a_broken_sentence_is_not_selectable() -> None:
    lines = [
        "The otter builds its holt beside the old mill.",
        "and so it returned to the river in the autumn.",
        "otters, herons) and several others live beside it.",
        "mRNA levels of the otter rose in the second winter.",
        "2) We count the otters of the upper valley (each spring).",
        "Otters (and herons) fish in the shallow water there.",
    ]
    cased = Document.from_sections([("", "\n".join([*lines, *5 * [lines[0]]]))])
    assert selectable_sentences(cased)[:6].tolist() == [True, False, False, True, True, True]
    lower_cased = Document.from_sections([("", "\n".join(lines).lower())])
    assert selectable_sentences(lower_cased).all()


def test_a_sentence_that_breaks_off_is_not_selectable() -> None:
    lines = [
        "The otter builds its holt beside the old mill.",
        "For rivers of this kind the otters need a stretch of size",
        "The otters of the valley were counted each spring.3",
        "The otters of the valley were counted in two ways:",
        "Is the valley large enough for all the otters?”",
    ]
    broken = Document.from_sections([("", "\n".join([*lines, *5 * [lines[0]]]))])
    assert selectable_sentences(broken)[:5].tolist() == [True, False, True, True, True]
    without_stops = Document.from_sections([("", "\n".join(line.strip(".") for line in lines))])
    assert selectable_sentences(without_stops).all()


def test_an_announcement_of_the_next_sentence_is_not_selectable() -> None:
    lines = [
        "The otters of the valley were counted as follows.",
        "We ask of all these otters the following two questions:",
        "Some of the rivers that they live in are shown below.",
        "A wet spring follows and the otters live below the mill.",
        "In the spring following their birth they leave the holt.",
        "Most of the young otters left the holt in the following year.",
        "The number of otters fell by half over the following two winters.",
    ]
    document = Document.from_sections([("", "\n".join(lines))])
    assert selectable_sentences(document).tolist() == [False] * 3 + [True] * 4


def test_a_long_document_opens_with_what_it_says_of_itself() -> None:
    opening = [
        "The otter is an animal of great interest to many.",
        "Here the otters of the upper valley are counted.",
        "The otter is an animal that many people like.",
    ]
    rest = ["The otters of the valley were counted again."]
    long = Document.from_sections([("", "\n".join([*opening, *60 * rest]))])
    assert selectable_sentences(long)[:3].tolist() == [False, True, True]
    short = Document.from_sections([("", "\n".join([*opening, *20 * rest]))])
    assert selectable_sentences(short).all()


def test_headings_without_capitals_are_not_selectable() -> None:
    lines = [
        "the otters of the valley were counted again .",
        "the otters in the valley of the old mill",
        "the otters of the valley were <dig> and <dig>",
    ]
    lower_cased = Document.from_sections([("", "\n".join([*lines, *9 * lines[:1]]))])
    assert selectable_sentences(lower_cased)[:3].tolist() == [True, False, True]
