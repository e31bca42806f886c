from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from terraformer.batch import SourceArrays, collate
from terraformer.checkpoint import load_checkpoint
from terraformer.config import PickingConfig
from terraformer.decoding import Pick, iterate_picks, pick_sentences, stops_at
from terraformer.document import Document
from terraformer.model import Source, Terraformer
from terraformer.similarity import tf_idf
from terraformer.tokenizer import Tokenizer

ANIMALS = "otter heron salmon beaver mayfly kingfisher dipper trout crayfish eel".split()
LINES = [
    f"The {animal} follows {'the river ' * (i % 4 + 1)}home." for i, animal in enumerate(ANIMALS)
]


@pytest.fixture(scope="module")
def checkpoint(tiny_checkpoint: Path) -> tuple[Terraformer, Tokenizer]:
    return load_checkpoint(tiny_checkpoint)


def read(
    checkpoint: tuple[Terraformer, Tokenizer], lines: list[str], **picking: float
) -> tuple[Terraformer, Source, sparse.csr_matrix]:
    model, tokenizer = checkpoint
    model.config = replace(model.config, picking=replace(model.config.picking, **picking))
    return model, *read_sections(tokenizer, [("", lines)])


def read_sections(
    tokenizer: Tokenizer, sections: list[tuple[str, list[str]]]
) -> tuple[Source, sparse.csr_matrix]:
    lines = [line for _, own in sections for line in own]
    document = Document.from_sections([(heading, "\n".join(own)) for heading, own in sections])
    assert [sentence.text for sentence in document.sentences] == lines
    return collate([SourceArrays.of(document, tokenizer)]), tf_idf(lines)


def words(picks: list[int], lines: list[str]) -> int:
    return sum(len(lines[pick].split()) for pick in picks)


def test_picks_never_repeat_and_end_with_the_sentences(
    checkpoint: tuple[Terraformer, Tokenizer],
) -> None:
    lines = [*LINES, "Too short."]
    model, source, vectors = read(checkpoint, lines)
    picks = list(iterate_picks(model, source, vectors))
    assert sorted(pick.sentence for pick in picks) == list(range(len(LINES)))
    assert [pick.n_words for pick in picks] == [len(lines[pick.sentence].split()) for pick in picks]
    assert all(0.0 <= pick.stop_probability <= 1.0 for pick in picks)
    assert picks == list(iterate_picks(model, source, vectors))


@pytest.mark.parametrize("max_picks", [1, 3, 5])
def test_short_is_half_and_long_is_twice_of_normal(
    checkpoint: tuple[Terraformer, Tokenizer], max_picks: int
) -> None:
    inputs = read(checkpoint, LINES, stop_threshold=2.0, max_picks=max_picks)
    normal = pick_sentences(*inputs)
    short, long = (pick_sentences(*inputs, length) for length in ("short", "long"))
    assert len(normal) == max_picks
    assert normal[: len(short)] == short
    assert long[: len(normal)] == normal
    longest = max(len(line.split()) for line in LINES)
    assert len(short) == 1 or abs(words(short, LINES) - words(normal, LINES) / 2) <= longest / 2
    assert abs(words(long, LINES) - 2 * words(normal, LINES)) <= longest / 2


def test_the_model_stops_at_the_threshold_but_not_before_the_first(
    checkpoint: tuple[Terraformer, Tokenizer],
) -> None:
    inputs = read(checkpoint, LINES, stop_threshold=0.0, max_picks=40)
    everything = list(iterate_picks(*inputs))
    assert pick_sentences(*inputs) == [everything[0].sentence]
    highest = max(pick.stop_probability for pick in everything[1:])
    inputs = read(checkpoint, LINES, stop_threshold=highest)
    at = next(i for i, pick in enumerate(everything) if i and pick.stop_probability >= highest)
    assert pick_sentences(*inputs) == [pick.sentence for pick in everything[:at]]


@pytest.mark.parametrize(
    ("threshold", "max_picks", "n_picks"),
    [(0.05, 24, 1), (0.3, 24, 2), (0.5, 24, 3), (0.95, 24, 4), (0.95, 2, 2)],
)
def test_a_summary_ends_at_the_first_stop_and_is_never_empty(
    threshold: float, max_picks: int, n_picks: int
) -> None:
    picks = [Pick(i, 10, stop) for i, stop in enumerate([0.9, 0.1, 0.4, 0.7])]
    picking = PickingConfig(stop_threshold=threshold, max_picks=max_picks)
    assert stops_at(picks, picking) == n_picks


@settings(max_examples=25, deadline=None)
@given(n_words=st.integers(1, 150))
def test_a_number_of_words_is_met_by_the_nearest_prefix(
    checkpoint: tuple[Terraformer, Tokenizer], n_words: int
) -> None:
    inputs = read(checkpoint, LINES)
    order = [pick.sentence for pick in iterate_picks(*inputs)]
    picks = pick_sentences(*inputs, n_words)
    assert picks == order[: len(picks)]
    best = min(abs(words(order[:n], LINES) - n_words) for n in range(1, len(order) + 1))
    assert abs(words(picks, LINES) - n_words) == best


@pytest.mark.parametrize("length", ["short", "normal", "long", 1, 10_000])
def test_one_sentence_is_its_own_summary(
    checkpoint: tuple[Terraformer, Tokenizer], length: object
) -> None:
    assert pick_sentences(*read(checkpoint, LINES[:1]), length) == [0]  # type: ignore[arg-type]


@pytest.mark.parametrize("length", ["normal", "long", 10_000])
def test_all_sentences_may_be_taken(
    checkpoint: tuple[Terraformer, Tokenizer], length: object
) -> None:
    inputs = read(checkpoint, LINES, stop_threshold=2.0, max_picks=40)
    picks = pick_sentences(*inputs, length)  # type: ignore[arg-type]
    assert sorted(picks) == list(range(len(LINES)))


def test_the_penalty_leaves_duplicates_to_the_end(
    checkpoint: tuple[Terraformer, Tokenizer],
) -> None:
    lines = [line for line in LINES[:5] for _ in range(3)]
    inputs = read(checkpoint, lines, redundancy_penalty=1000.0)
    order = [pick.sentence for pick in iterate_picks(*inputs)]
    assert len({lines[pick] for pick in order[:5]}) == 5
    assert sorted(order) == list(range(15))


def test_the_bonus_brings_methods_and_results_forward(
    checkpoint: tuple[Terraformer, Tokenizer],
) -> None:
    model, tokenizer = checkpoint
    headings = ["Introduction", "Methods", "Results", "Discussion"]
    sections = [(heading, LINES[2 * i : 2 * i + 2]) for i, heading in enumerate(headings)]
    source, vectors = read_sections(tokenizer, sections)

    def order(bonus: float) -> list[int]:
        picking = replace(model.config.picking, redundancy_penalty=0.0, findings_bonus=bonus)
        return [pick.sentence for pick in iterate_picks(model, source, vectors, picking)]

    findings = {2, 3, 4, 5}
    assert set(order(1000.0)[:4]) == findings
    assert set(order(-1000.0)[4:]) == findings


def test_a_reading_may_be_given(checkpoint: tuple[Terraformer, Tokenizer]) -> None:
    model, source, vectors = read(checkpoint, LINES)
    picks = list(iterate_picks(model, source, vectors, begun=model.begin(source)))
    assert picks == list(iterate_picks(model, source, vectors))
