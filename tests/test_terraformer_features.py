from __future__ import annotations

import numpy as np
import pytest

from terraformer import features
from terraformer.document import Document
from terraformer.features import FEATURE_NAMES, N_FEATURES, sentence_features


def column(document: Document, name: str) -> np.ndarray:
    return sentence_features(document)[:, FEATURE_NAMES.index(name)]


def many(n_sentences: int) -> Document:
    words = [f"w{chr(97 + i % 26)}{chr(97 + i // 26 % 26)}" for i in range(500)]
    lines = [
        f"We saw {words[i % 500]} near {words[i * 7 % 500]} again." for i in range(n_sentences)
    ]
    cut = n_sentences // 3
    return Document.from_sections(
        [("Introduction", " ".join(lines[:cut])), ("Conclusion", " ".join(lines[cut:]))]
    )


DOCUMENTS = {
    "one-sentence": Document.from_sections([("", "One.")]),
    "two-sentences": Document.from_sections([("", "One is here. Two is there.")]),
    "no-words": Document.from_sections([("", "1 2 3.\n4 5 6.")]),
    "same-sentence": Document.from_sections([("A", "The flux rose.\n" * 9)], title="The flux"),
    "empty-sections": Document.from_sections([("A", ""), ("B", "Flux rose. It fell."), ("C", "")]),
    "long-sentence": Document.from_sections([("", "flux " * 20_000)]),
    "3000-sentences": many(3000),
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_features_are_finite_bounded_and_the_same_again(name: str) -> None:
    document = DOCUMENTS[name]
    values = sentence_features(document)
    assert values.shape == (len(document.sentences), N_FEATURES)
    assert values.dtype == np.float32
    assert np.isfinite(values).all()
    assert np.abs(values).max() <= 4.0
    np.testing.assert_array_equal(values, sentence_features(document))


def test_names_are_distinct() -> None:
    assert len(set(FEATURE_NAMES)) == N_FEATURES == 78


def test_blocks_of_rows_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    document = many(90)
    whole = sentence_features(document)
    monkeypatch.setattr(features, "_ROWS_AT_ONCE", 7)
    np.testing.assert_allclose(sentence_features(document), whole, atol=1e-5)


def test_reading_order_matters() -> None:
    lines = ["Rivers carry sediment.", "Dams hold sediment.", "Deltas need the sediment."]
    forward = sentence_features(Document.from_sections([("", "\n".join(lines))]))
    backward = sentence_features(Document.from_sections([("", "\n".join(lines[::-1]))]))
    assert np.abs(forward - backward[::-1]).max() > 0.1


def test_place_within_document_and_section() -> None:
    document = Document.from_sections(
        [("Introduction", "A one. A two.\nA three."), ("Methods", "B one. B two.")]
    )
    np.testing.assert_allclose(column(document, "document_place"), [0, 0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(column(document, "section_place"), [0, 0.5, 1, 0, 1])
    np.testing.assert_array_equal(column(document, "opens_section"), [1, 0, 0, 1, 0])
    np.testing.assert_array_equal(column(document, "closes_section"), [0, 0, 1, 0, 1])
    np.testing.assert_array_equal(column(document, "opens_paragraph"), [1, 0, 1, 1, 0])
    np.testing.assert_array_equal(column(document, "closes_paragraph"), [0, 1, 1, 0, 1])
    np.testing.assert_array_equal(column(document, "in_introduction"), [1, 1, 1, 0, 0])
    np.testing.assert_array_equal(column(document, "in_methods"), [0, 0, 0, 1, 1])


@pytest.mark.parametrize(
    ("name", "says", "not_says"),
    [
        ("says_we", "Here we rest.", "The wet weight."),
        ("says_this_work", "In this paper it holds.", "In that paper it holds."),
        ("says_conclude", "We conclude so.", "We include so."),
        ("has_citation", "As known [3].", "As known."),
        ("has_citation", "As known (Smith, 2009).", "As known (Smith)."),
        ("has_number", "We took <dig> rivers.", "We took two rivers."),
        ("has_statistic", "It rose by 3 %.", "It rose by 3."),
        ("refers_to_figure", "See Fig. 3.", "See the fog."),
        ("hangs_on_context", "This holds.", "All this holds."),
        ("is_question", "Why so?", "So why."),
        ("lacks_end", "The flux rose", "The flux rose."),
    ],
)
def test_wordings(name: str, says: str, not_says: str) -> None:
    document = Document.from_sections([("", f"{not_says}\n{says}")])
    np.testing.assert_array_equal(column(document, name), [0, 1])


def test_the_title_counts_where_there_is_one() -> None:
    sections = [("", "Rivers carry sediment. Nobody knows why.")]
    titled = Document.from_sections(sections, title="Sediment in rivers")
    np.testing.assert_allclose(column(titled, "title_overlap"), [1, 0])
    assert not column(Document.from_sections(sections), "title_overlap").any()
