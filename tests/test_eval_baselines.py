"""The baselines: hand-made documents with known answers, and figures on the shared papers."""

from __future__ import annotations

import time

import numpy as np
import pytest

from eval.baselines import BASELINES, conclusion, hiporank, lead, lexrank, oracle, predict
from eval.metrics import score_summary
from terraformer.document import Document

UNSUPERVISED = [name for name in BASELINES if name != "oracle"]


def random_document(n_sections: int = 6, n_sentences: int = 12, seed: int = 0) -> Document:
    rng = np.random.default_rng(seed)
    words = [f"{a}{b}a" for a in "bcdfghklmnprst" for b in ("ala", "ero", "ito", "usu")]
    sections = []
    for section in range(n_sections):
        sentences = [
            " ".join(rng.choice(words, rng.integers(5, 15))).capitalize() + "."
            for _ in range(n_sentences)
        ]
        heading = "Conclusion" if section == n_sections - 1 else f"Part {section}"
        sections.append((heading, " ".join(sentences)))
    return Document.from_sections(sections)


@pytest.mark.parametrize("name", UNSUPERVISED)
@pytest.mark.parametrize("budget", [1, 30, 77])
def test_baselines_fill_the_budget_exactly(name: str, budget: int) -> None:
    document = random_document()
    prediction = predict(name, document, budget)
    assert len(prediction.text.split()) == budget
    assert list(prediction.sentences) == sorted(set(prediction.sentences))
    whole = " ".join(document.sentences[index].text for index in prediction.sentences)
    assert whole.startswith(prediction.text)
    # One sentence less, whichever it is, is below the budget only for the last in rank.
    ranked = BASELINES[name](document, budget, None)
    n_words = [document.sentences[index].n_words for index in ranked]
    assert sum(n_words[:-1]) < budget <= sum(n_words)


@pytest.mark.parametrize("name", list(BASELINES))
def test_short_documents_are_taken_whole_and_runs_agree(name: str) -> None:
    document = Document.from_sections([("", "Only one sentence stands here.")])
    assert predict(name, document, 100, "One sentence.").text == document.sentences[0].text
    document = random_document(seed=5)
    reference = " ".join(sentence.text for sentence in document.sentences[3:60:14])
    assert predict(name, document, 40, reference) == predict(name, document, 40, reference)


def test_lead_takes_the_first_sentences() -> None:
    assert lead(random_document(), 40) == [0, 1, 2, 3][: len(lead(random_document(), 40))]


def test_lexrank_ranks_the_hub_first_and_needs_the_threshold() -> None:
    document = Document.from_sections(
        [
            (
                "",
                "Zebra quagga okapi. Wheat barley rye. Copper wheat zebra nickel."
                " Nickel cobalt copper. Granite basalt gneiss.",
            )
        ]
    )
    # The third sentence shares words with the first, second and fourth; the last with none.
    ranking = lexrank(document, 1000)
    assert ranking[0] == 2
    assert ranking[-1] == 4


def test_hiporank_follows_its_formula() -> None:
    document = random_document(n_sections=5, n_sentences=7, seed=2)
    from terraformer.similarity import tf_idf

    vectors = tf_idf([sentence.text for sentence in document.sentences]).toarray()
    section_of = [sentence.section for sentence in document.sentences]

    def distance(place: int, n: int) -> int:
        return min(place, n - 1 - place)

    scores = []
    for i, section in enumerate(section_of):
        members = [j for j, other in enumerate(section_of) if other == section]
        intra = sum(
            float(vectors[i] @ vectors[j])
            for place, j in enumerate(members)
            if j != i and distance(members.index(i), 7) <= distance(place, 7)
        ) / (len(members) - 1)
        inter = 0.0
        for other in range(5):
            total = vectors[[j for j, at in enumerate(section_of) if at == other]].sum(axis=0)
            if distance(section, 5) <= distance(other, 5):
                inter += float(vectors[i] @ total) / float(np.linalg.norm(total)) / 5
        scores.append(0.5 * inter + intra)
    assert hiporank(document, 10_000) == sorted(range(35), key=lambda i: -scores[i])


@pytest.mark.parametrize(
    ("headings", "chosen"),
    [
        (["Introduction", "Conclusions", "Appendix"], 1),
        (["Conclusion", "Results", "5. Conclusion and outlook"], 2),
        (["Introduction", "Discussion", "Methods"], 1),
        (["Introduction", "Methods", "Something else"], 2),
        (["Introduction", "Methods", ""], 2),
    ],
)
def test_conclusion_finds_its_section(headings: list[str], chosen: int) -> None:
    document = Document.from_sections(
        [(heading, f"Alpha {i} is. Beta {i} is not.") for i, heading in enumerate(headings)]
    )
    assert [document.sentences[i].section for i in conclusion(document, 1000)] == [chosen] * 2
    assert conclusion(document, 3) == [2 * chosen]


def test_conclusion_passes_over_sections_without_sentences() -> None:
    document = Document.from_sections(
        [("Introduction", "Alpha is."), ("Discussion", "Beta is."), ("Conclusion", "")]
    )
    assert conclusion(document, 10) == [1]


def test_oracle_finds_the_sentences_the_reference_was_made_of() -> None:
    document = random_document(seed=3)
    chosen = [4, 20, 41]
    reference = " ".join(document.sentences[index].text for index in chosen)
    assert sorted(oracle(document, 5, reference)) == chosen
    assert score_summary(predict("oracle", document, 5, reference).text, reference)[
        "rouge2"
    ] == pytest.approx(100)
    with pytest.raises(ValueError, match="reference"):
        oracle(document, 5)


def test_oracle_beats_the_others_and_an_alien_reference_leaves_it_empty() -> None:
    document = random_document(seed=4)
    reference = " ".join(
        " ".join(sentence.text.split()[:4]) + "." for sentence in document.sentences[2:70:11]
    )
    scores = {}
    for name in BASELINES:
        values = score_summary(predict(name, document, 40, reference).text, reference)
        scores[name] = values["rouge1"] + values["rouge2"]
    assert all(scores["oracle"] > 1.5 * scores[name] for name in UNSUPERVISED)
    assert predict("oracle", document, 40, "Xyzzy plugh.").text == ""


def test_thousands_of_sentences_take_seconds() -> None:
    document = random_document(n_sections=20, n_sentences=150)
    assert len(document.sentences) == 3000
    reference = " ".join(sentence.text for sentence in document.sentences[::300])
    start = time.monotonic()
    for name in BASELINES:
        assert predict(name, document, 200, reference).text
    assert time.monotonic() - start < 30
