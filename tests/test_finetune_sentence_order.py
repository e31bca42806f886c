from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune.objectives import ExtractObjective
from finetune.sentence_order import ShuffledSentences, collate_shuffled, shuffle_sentences
from terraformer.attention_config import FullAttentionConfig
from terraformer.config import TerraformerConfig
from terraformer.feed_forward_config import DenseFFConfig
from terraformer.model import Terraformer
from terraformer.stack_config import StackConfig

N_FEATURES = 3
STACK = StackConfig(1, FullAttentionConfig(n_heads=2), DenseFFConfig(d_ff=16))
CONFIG = TerraformerConfig(60, 8, 8, N_FEATURES, STACK, STACK, STACK, dropout=0.0)


def paper(lengths: list[int]) -> dict[str, Any]:
    """A title of two tokens, then sentences: every token of sentence i is 10 + i."""
    of_token = np.repeat(np.arange(-1, len(lengths)), [2, *lengths]).astype(np.int32)
    return {
        "ids": (10 + of_token).astype(np.int32),
        "sentence_of_token": of_token,
        "features": np.ones(N_FEATURES * len(lengths), np.float16),
        "n_words": np.arange(len(lengths), dtype=np.int32) + 5,
    }


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=12), st.integers(1, 40), st.integers(0, 99))
def test_sentences_that_follow_one_another_are_shuffled(
    lengths: list[int], max_tokens: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    source, order = shuffle_sentences(paper(lengths), N_FEATURES, max_tokens, random)
    sentences = source.n_words - 5
    first = sentences.min()
    assert (sentences[order] == np.arange(first, first + len(sentences))).all()
    # The tokens of each stand together, whole, in the shuffled order.
    assert (source.ids == np.repeat(10 + sentences, np.array(lengths)[sentences])).all()
    assert (sentences[source.sentence_of_token] == source.ids - 10).all()
    assert not source.features.any()
    assert source.features.shape == (len(sentences), N_FEATURES)
    assert source.selectable.all()
    assert len(source.ids) <= max_tokens or len(sentences) == min(2, len(lengths))
    following = first + len(sentences)
    assert following == len(lengths) or len(source.ids) + lengths[following] > max_tokens


def test_the_targets_are_the_order_and_then_the_stop() -> None:
    shuffled = ShuffledSentences([paper([3, 4, 2, 5])], N_FEATURES, 99, seed=1)
    shorter = ShuffledSentences([paper([3, 4])], N_FEATURES, 99, seed=1)
    batch = collate_shuffled([shuffled[0], shorter[0]])
    for row, (_, order) in enumerate([shuffled[0], shorter[0]]):
        n = len(order)
        assert batch["picks"][row, :n].tolist() == order.tolist()
        asked = batch["next_pick"][row, : n + 1].argmax(dim=-1).tolist()
        assert asked == [*order.tolist(), batch["next_pick"].shape[-1] - 1]
    assert (batch["next_pick"].sum(dim=-1)[1] > 0).tolist() == [True] * 3 + [False] * (
        batch["next_pick"].shape[1] - 3
    )


def test_every_epoch_draws_anew_but_the_same_for_a_seed() -> None:
    examples = [paper([3] * 9)]
    first, second = (ShuffledSentences(examples, N_FEATURES, 18, seed=4) for _ in range(2))
    drawn = []
    for epoch in range(4):
        first.set_epoch(epoch)
        second.set_epoch(epoch)
        drawn.append(first[0].source.n_words.tolist())
        assert drawn[-1] == second[0].source.n_words.tolist()
    assert len({str(each) for each in drawn}) == 4


@pytest.mark.parametrize("seed", range(2))
def test_a_model_learns_the_order(seed: int) -> None:
    torch.manual_seed(seed)
    data = ShuffledSentences([paper([2] * 5)], N_FEATURES, 99, seed=seed)
    objective = ExtractObjective(Terraformer(CONFIG), salience_weight=0.0)
    optimizer = torch.optim.Adam(objective.parameters(), lr=1e-2)
    losses = []
    for step in range(120):
        data.set_epoch(step)
        loss = objective(**collate_shuffled([data[0]]))["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    # By chance: ln(5!) / 6 picks and the stop, 0.8.
    assert losses[0] > 0.7
    assert np.mean(losses[-10:]) < 0.1
