from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from finetune.oracle import beam_episodes

# Sentences end in words that no reference holds: no bigram across a border can be a hit.
WORDS = st.sampled_from("river flux dam delta salmon otter".split())
SENTENCES = st.lists(st.lists(WORDS, min_size=1, max_size=6), min_size=1, max_size=7).map(
    lambda lists: [" ".join([*words, f"end{i}x"]) for i, words in enumerate(lists)]
)
REFERENCES = st.lists(WORDS, min_size=2, max_size=12).map(" ".join)
SCORER = RougeScorer(["rouge1", "rouge2"], use_stemmer=True)


def mean_rouge(sentences: list[str], picks: tuple[int, ...], reference: str) -> float:
    """Of rouge-score, without the bigrams that would cross the border of two sentences."""
    prediction = " ".join(sentences[pick] for pick in picks)
    scores = SCORER.score(reference, prediction)
    hits = scores["rouge2"].recall * max(1, len(reference.split()) - 1)
    n_bigrams = sum(len(sentences[pick].split()) - 1 for pick in picks)
    r2 = 2 * hits / max(1, n_bigrams + len(reference.split()) - 1)
    return (scores["rouge1"].fmeasure + r2) / 2


@settings(max_examples=60, deadline=None)
@given(SENTENCES, REFERENCES)
def test_episodes_score_as_rouge_score_scores_them(sentences: list[str], reference: str) -> None:
    episodes = beam_episodes(sentences, reference)
    assert [e.score for e in episodes] == sorted((e.score for e in episodes), reverse=True)
    for episode in episodes:
        assert episode.score == pytest.approx(mean_rouge(sentences, episode.picks, reference))
    members = [frozenset(episode.picks) for episode in episodes]
    assert len(set(members)) == len(members)
    assert all(len(set(e.picks)) == len(e.picks) for e in episodes)
    overlap = any(set(sentence.split()) & set(reference.split()) for sentence in sentences)
    assert bool(episodes) == overlap


@settings(max_examples=40, deadline=None)
@given(SENTENCES, REFERENCES)
def test_a_beam_is_between_greedy_and_the_best_of_all_sets(
    sentences: list[str], reference: str
) -> None:
    greedy = beam_episodes(sentences, reference, beam_size=1)
    beam = beam_episodes(sentences, reference, beam_size=200, n_episodes=1, min_gain=0.0)
    indices = range(len(sentences))
    sets = (s for n in indices for s in itertools.combinations(indices, n + 1))
    best = max(mean_rouge(sentences, picks, reference) for picks in sets)
    score = beam[0].score if beam else 0.0
    assert (greedy[0].score if greedy else 0.0) <= score + 1e-9
    assert score <= best + 1e-9
    assert len(greedy) <= 1


def test_one_sentence_alone_equals_rouge_score() -> None:
    sentence, reference = "the dams changed the fluxes of rivers", "dams change fluxes of the river"
    (episode,) = beam_episodes([sentence], reference)
    scores = SCORER.score(reference, sentence)
    mean = (scores["rouge1"].fmeasure + scores["rouge2"].fmeasure) / 2
    assert episode.score == pytest.approx(mean)
    assert episode.picks == (0,)


def test_a_beam_finds_what_greed_misses() -> None:
    sentences = ["a b c d u v", "a b c w", "d e f y"]
    reference = "a b c d e f"
    assert beam_episodes(sentences, reference, beam_size=1)[0].picks[0] == 0
    assert set(beam_episodes(sentences, reference)[0].picks) == {1, 2}


def test_only_candidates_are_picked() -> None:
    sentences = ["river flux dam", "river flux", "otter", "dam delta"]
    episodes = beam_episodes(sentences, "river flux dam delta", candidates=[3, 1])
    assert set(itertools.chain(*(e.picks for e in episodes))) <= {1, 3}
    assert set(episodes[0].picks) == {1, 3}
    assert not beam_episodes(sentences, "river", candidates=[])


def test_limits_are_kept() -> None:
    sentences = [f"word{i}x river{i}x" for i in range(10)]
    reference = " ".join(sentences)
    assert len(beam_episodes(sentences, reference)[0].picks) == 10
    assert {len(e.picks) for e in beam_episodes(sentences, reference, max_picks=3)} == {3}
    assert len(beam_episodes(sentences, reference, max_picks=3, n_episodes=2)) == 2
    assert all(len(e.picks) == 1 for e in beam_episodes(sentences, reference, min_gain=0.2))


@pytest.mark.parametrize("reference", ["", "...", "nothing in common"])
def test_nothing_overlaps_no_episode(reference: str) -> None:
    assert beam_episodes(["river flux", ""], reference) == []
