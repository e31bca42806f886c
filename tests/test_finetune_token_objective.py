from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from finetune.span_corruption import TokenPair
from finetune.token_objective import TokenObjective, collate_pairs, collate_windows
from terraformer.attention_config import CrossAttentionConfig, FullAttentionConfig
from terraformer.build import build_model
from terraformer.config import EncoderDecoderConfig, LanguageModelConfig
from terraformer.feed_forward_config import DenseFFConfig, FeedForwardConfig, SwitchFFConfig
from terraformer.stack_config import StackConfig

ATTENTION = FullAttentionConfig(2)
DENSE = DenseFFConfig(16)


def objective(feed_forward: FeedForwardConfig, pairs: bool) -> TokenObjective:
    stack = StackConfig(1, ATTENTION, feed_forward, residual="standard")
    if not pairs:
        return TokenObjective(build_model(LanguageModelConfig(30, 8, stack, dropout=0.0)))  # type: ignore[arg-type]
    decoder = StackConfig(
        1,
        ATTENTION,
        feed_forward,
        cross_attention=CrossAttentionConfig(2),
        residual="standard",
    )
    config = EncoderDecoderConfig(30, 8, stack, decoder, dropout=0.0)
    return TokenObjective(build_model(config))  # type: ignore[arg-type]


WINDOWS = [np.array([5, 6, 7, 8, 1]), np.array([9, 10])]
PAIRS = [TokenPair(WINDOWS[0], WINDOWS[1]), TokenPair(WINDOWS[1], WINDOWS[0])]


def test_windows_are_padded_at_the_end() -> None:
    batch = collate_windows(WINDOWS)
    assert batch["ids"].tolist() == [[5, 6, 7, 8, 1], [9, 10, 0, 0, 0]]
    assert batch["mask"].sum(dim=1).tolist() == [5, 2]
    assert batch["mask"][:, :2].all()


def test_sources_and_targets_are_padded_apart() -> None:
    batch = collate_pairs(
        [TokenPair(WINDOWS[0], np.array([3])), TokenPair(*[np.array([4, 1])] * 2)]
    )
    assert batch["source_ids"].tolist() == [[5, 6, 7, 8, 1], [4, 1, 0, 0, 0]]
    assert batch["target_ids"].tolist() == [[3, 0], [4, 1]]
    assert batch["source_mask"].sum(dim=1).tolist() == [5, 2]
    assert batch["target_mask"].tolist() == [[True, False], [True, True]]


@pytest.mark.parametrize("pairs", [False, True], ids=["language-model", "encoder-decoder"])
def test_the_loss_is_the_mean_cross_entropy_of_the_real_tokens(pairs: bool) -> None:
    model = objective(DENSE, pairs).eval()
    batch = collate_pairs(PAIRS) if pairs else collate_windows(WINDOWS)
    ids, mask = (batch[f"{'target_' if pairs else ''}{name}"] for name in ("ids", "mask"))
    with torch.no_grad():
        parts, logits = model(**batch), model.model.logits(**batch)
    torch.testing.assert_close(parts["loss"], F.cross_entropy(logits[mask], ids[mask]))
    assert set(parts) == {"loss", "token_loss"}
    assert 0.5 * np.log(30) < parts["loss"] < 2 * np.log(30)


@pytest.mark.parametrize("pairs", [False, True], ids=["language-model", "encoder-decoder"])
def test_the_objective_learns_one_batch(pairs: bool) -> None:
    model = objective(DENSE, pairs).train()
    batch = collate_pairs(PAIRS) if pairs else collate_windows(WINDOWS)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-2)
    for _ in range(80):
        optimizer.zero_grad()
        model(**batch)["loss"].backward()
        optimizer.step()
    loss = model(**batch)["loss"]
    # Which of the two windows it is cannot be known before its first token.
    unknown = 0.0 if pairs else 2 * np.log(2) / 7
    assert loss.item() == pytest.approx(unknown, abs=0.05)


def test_the_load_balancing_loss_is_reported_in_training_and_not_added() -> None:
    switch = SwitchFFConfig(16, n_experts=4, jitter=0.0, expert_dropout=0.0, capacity_factor=4.0)
    model = objective(switch, False)
    batch = collate_windows(WINDOWS)
    trained, evaluated = model.train()(**batch), model.eval()(**batch)
    assert set(trained) == {"loss", "token_loss", "load_balancing_loss"}
    assert set(evaluated) == {"loss", "token_loss"}
    torch.testing.assert_close(trained["loss"], evaluated["loss"])
    assert 0 < trained["load_balancing_loss"] < 0.01 * 4
