from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune.objectives import ExtractCollator, ExtractObjective, sample_targets
from terraformer.attention_config import FullAttentionConfig
from terraformer.config import TerraformerConfig
from terraformer.feed_forward_config import DenseFFConfig
from terraformer.model import Source, Terraformer
from terraformer.stack_config import StackConfig

N_SENTENCES = 9
EPISODES = st.lists(
    st.tuples(
        st.lists(st.integers(0, N_SENTENCES - 1), min_size=1, max_size=5, unique=True),
        st.floats(0.05, 0.8),
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=100, deadline=None)
@given(EPISODES, st.integers(0, 99))
def test_targets_are_distributions_over_what_is_left_and_end_in_the_stop(
    episodes: list[tuple[list[int], float]], seed: int
) -> None:
    sets, scores = [list(picks) for picks, _ in episodes], [score for _, score in episodes]
    targets = sample_targets(sets, scores, N_SENTENCES, np.random.default_rng(seed))
    n_picks = len(targets.picks)
    assert sorted(targets.picks) in [sorted(picks) for picks in sets]
    assert targets.next_pick.shape == (n_picks + 1, N_SENTENCES + 1)
    np.testing.assert_allclose(targets.next_pick.sum(axis=1), 1.0, atol=1e-5)
    np.testing.assert_array_equal(targets.next_pick[:, -1], [0.0] * n_picks + [1.0])
    for row, pick in enumerate(targets.picks):
        assert targets.next_pick[row, pick] > 0
        assert not targets.next_pick[row, targets.picks[:row]].any()
    assert targets.membership.min() >= 0
    assert targets.membership.max() <= 1 + 1e-6
    assert set(targets.membership.nonzero()[0]) <= set().union(*sets)
    assert min(scores) / 0.5 - 1e-6 <= targets.weight <= max(scores) / 0.5 + 1e-6


def test_better_episodes_count_more() -> None:
    random = np.random.default_rng(0)
    targets = sample_targets([[0], [1]], [0.42, 0.40], 2, random)
    assert targets.membership[0] / targets.membership[1] == pytest.approx(np.e, rel=1e-3)
    targets = sample_targets([[0, 1], [1, 2]], [0.4, 0.4], 3, random)
    np.testing.assert_allclose(targets.membership, [0.5, 1.0, 0.5])
    np.testing.assert_allclose(targets.next_pick[0, :3], [0.25, 0.5, 0.25])


def example(n_sentences: int, episodes: list[list[int]], seed: int) -> dict[str, object]:
    random = np.random.default_rng(seed)
    return {
        "ids": random.integers(3, 50, 4 * n_sentences).astype(np.int32),
        "sentence_of_token": np.repeat(np.arange(n_sentences, dtype=np.int32), 4),
        "features": random.normal(size=3 * n_sentences).astype(np.float16),
        "selectable": np.ones(n_sentences, bool),
        "n_words": random.integers(5, 30, n_sentences).astype(np.int32),
        "episodes": [np.array(episode) for episode in episodes],
        "scores": np.linspace(0.5, 0.45, len(episodes)),
    }


def test_the_collator_pads_targets_with_their_document() -> None:
    examples = [example(4, [[2]], 1), example(7, [[0, 6, 3]], 2)]
    batch = ExtractCollator(3, seed=0)(examples)
    assert batch["picks"].shape == (2, 3)
    assert batch["next_pick"].shape == (2, 4, 8)
    assert batch["membership"].shape == (2, 7)
    assert batch["features"].shape == (2, 7, 3)
    assert batch["picks"][0].tolist() == [2, -1, -1]
    assert sorted(batch["picks"][1].tolist()) == [0, 3, 6]
    assert batch["next_pick"][0, 0].tolist() == [0, 0, 1, 0, 0, 0, 0, 0]
    assert batch["next_pick"][0, 1].tolist() == [0] * 7 + [1]
    assert not batch["next_pick"][0, 2:].any()
    assert batch["membership"].tolist() == [[0, 0, 1, 0, 0, 0, 0], [1, 0, 0, 1, 0, 0, 1]]
    torch.testing.assert_close(batch["weight"], torch.ones(2))


def test_the_collator_draws_anew_but_the_same_for_a_seed() -> None:
    examples = [example(7, [[0, 6, 3, 2], [1, 4, 5]], 2)]
    first, second = ExtractCollator(3, seed=5), ExtractCollator(3, seed=5)
    drawn = [first(examples)["picks"].tolist() for _ in range(6)]
    assert drawn == [second(examples)["picks"].tolist() for _ in range(6)]
    assert len({str(picks) for picks in drawn}) > 1


@pytest.fixture
def objective() -> ExtractObjective:
    stack = StackConfig(1, FullAttentionConfig(n_heads=2), DenseFFConfig(d_ff=16))
    config = TerraformerConfig(
        vocab_size=50,
        d_token=8,
        d_model=8,
        n_features=3,
        token_encoder=stack,
        sentence_encoder=stack,
        decoder=stack,
        dropout=0.0,
    )
    return ExtractObjective(Terraformer(config)).eval()


def test_the_loss_of_a_batch_is_the_mean_of_its_documents(objective: ExtractObjective) -> None:
    examples = [example(4, [[2]], 1), example(7, [[0, 6, 3]], 2), example(5, [[1, 4]], 3)]
    order = [ExtractCollator(3, seed=0) for _ in range(2)]
    with torch.no_grad():
        together = objective(**order[0](examples))
        alone = [objective(**order[1]([one])) for one in examples]
    for name in ("loss", "pointer_loss", "salience_loss"):
        mean = torch.stack([one[name] for one in alone]).mean()
        torch.testing.assert_close(together[name], mean, rtol=1e-5, atol=1e-5)
    whole = together["pointer_loss"] + 0.5 * together["salience_loss"]
    torch.testing.assert_close(together["loss"], whole)


def test_the_pointer_loss_is_the_cross_entropy(objective: ExtractObjective) -> None:
    batch = ExtractCollator(3, seed=0)([example(4, [[2]], 1)])
    with torch.no_grad():
        losses = objective(**batch)
        names = {"picks", "next_pick", "membership", "weight"}
        source = {name: value for name, value in batch.items() if name not in names}
        logits = objective.model(Source(**source), batch["picks"]).logits[0]
    expected = torch.nn.functional.cross_entropy(logits, torch.tensor([2, 4]))
    torch.testing.assert_close(losses["pointer_loss"], expected)


def test_the_objective_learns_one_batch(objective: ExtractObjective) -> None:
    batch = ExtractCollator(3, seed=0)([example(4, [[2]], 1), example(7, [[0, 6, 3]], 2)])
    optimizer = torch.optim.Adam(objective.train().parameters(), lr=1e-2)
    losses = []
    for _ in range(40):
        loss = objective(**batch)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
