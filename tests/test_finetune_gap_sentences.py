from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from finetune.gap_sentences import GapSentences, choose_gaps, cut_gaps, principal_scores
from terraformer.tokenizer import EOS_ID

SENTENCES = [
    "Rivers carry the sediment of the mountains to the sea.",
    "We thank the station.",
    "Dams hold the sediment of the rivers, and the sea carries it away.",
    "The sea, the sea!",
    "…",
]
WORDS = st.sampled_from("river rivers dam sea the of hold 7 Sea".split())


def published_scores(sentences: list[str]) -> list[float]:
    scorer = RougeScorer(["rouge1"], use_stemmer=True)
    return [
        scorer.score(" ".join(sentences[:i] + sentences[i + 1 :]), sentence)["rouge1"].fmeasure
        for i, sentence in enumerate(sentences)
    ]


def test_scores_are_those_of_rouge_against_the_rest() -> None:
    np.testing.assert_allclose(
        principal_scores(SENTENCES), published_scores(SENTENCES), rtol=1e-6, atol=1e-7
    )


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(WORDS, max_size=8).map(" ".join), min_size=2, max_size=7))
def test_scores_are_those_of_rouge_for_any_sentences(sentences: list[str]) -> None:
    np.testing.assert_allclose(
        principal_scores(sentences), published_scores(sentences), rtol=1e-6, atol=1e-7
    )


def test_the_strategies() -> None:
    scores = np.array([0.1, 0.4, 0.2, 0.4, 0.3, 0.0], np.float32)
    random = np.random.default_rng(0)

    def chosen(share: float, strategy: str) -> list[int]:
        return choose_gaps(scores, share, strategy, random).nonzero()[0].tolist()  # type: ignore[arg-type]

    assert chosen(0.34, "principal") == [1, 3]
    assert chosen(0.17, "principal") == [1]  # the first of equals
    assert chosen(0.5, "lead") == [0, 1, 2]
    drawn = {tuple(chosen(0.5, "random")) for _ in range(40)}
    assert len(drawn) > 10
    assert {len(gaps) for gaps in drawn} == {3}
    assert [len(chosen(share, "principal")) for share in (0.0, 1.0)] == [1, 5]
    with pytest.raises(ValueError, match="scores of 1 sentences"):
        choose_gaps(scores[:1], 0.3, "principal", random)


SENTENCE_OF_TOKEN = np.array([-1, -1, 0, 0, 1, 1, 1, -1, 2, 2, 3], np.int32)
IDS = np.arange(10, 21)


def test_gaps_give_way_to_one_sentinel_each_and_headings_stay() -> None:
    pair = cut_gaps(IDS, SENTENCE_OF_TOKEN, np.array([True, True, False, True]), sentinel=99)
    assert pair.source_ids.tolist() == [10, 11, 99, 99, 17, 18, 19, 99, EOS_ID]
    assert pair.target_ids.tolist() == [12, 13, 14, 15, 16, 20, EOS_ID]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.booleans(), min_size=4, max_size=4))
def test_source_and_target_hold_the_text(gaps: list[bool]) -> None:
    pair = cut_gaps(IDS, SENTENCE_OF_TOKEN, np.array(gaps), sentinel=99)
    source, target = pair.source_ids.tolist()[:-1], pair.target_ids.tolist()[:-1]
    assert source.count(99) == sum(gaps)
    kept = [id_ for id_ in source if id_ != 99]
    assert sorted(kept + target) == IDS.tolist()
    assert kept == sorted(kept)
    assert target == sorted(target)


def test_random_gaps_are_new_every_epoch_and_the_same_for_a_seed() -> None:
    article = {
        "index": np.int64(5),
        "ids": IDS.astype(np.int32),
        "sentence_of_token": SENTENCE_OF_TOKEN,
        "principal": np.array([0.1, 0.2, 0.4, 0.3], np.float32),
    }
    principal = GapSentences(100, seed=0, share=0.25)
    assert principal(article).target_ids.tolist() == [18, 19, EOS_ID]
    assert 99 in principal(article).source_ids

    def draw(seed: int) -> list[list[int]]:
        gaps, targets = GapSentences(100, seed, share=0.5, strategy="random"), []
        for epoch in range(8):
            gaps.set_epoch(epoch)
            targets.append(gaps(article).target_ids.tolist())
        return targets

    assert draw(3) == draw(3)
    assert draw(3) != draw(4)
    assert len({str(target) for target in draw(3)}) > 1
