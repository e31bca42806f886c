from __future__ import annotations

import pytest
import torch

from terraformer.heads import BLOCKED, PointerHead, SentencePooling


def test_pooling_is_the_weighted_mean_of_a_sentences_tokens() -> None:
    pooling = SentencePooling(8, 6, n_heads=2)
    tokens = torch.randn(1, 5, 8)
    owners = torch.tensor([[-1, 0, 0, 2, 0]])
    pooled = pooling(tokens, owners, 3)
    weight = torch.exp(10 * torch.tanh(pooling.score(tokens) / 10))[0]  # [L, H]
    for sentence, members in ((0, [1, 2, 4]), (2, [3])):
        share = weight[members] / weight[members].sum(dim=0)
        states = tokens[0, members].view(-1, 2, 4)
        mean = (share[..., None] * states).sum(dim=0).flatten()
        torch.testing.assert_close(pooled[0, sentence], pooling.out(mean))
    torch.testing.assert_close(pooled[0, 1], pooling.out.bias)


def test_documents_of_a_batch_are_pooled_by_themselves() -> None:
    pooling = SentencePooling(8, 6)
    tokens = torch.randn(2, 5, 8)
    owners = torch.tensor([[0, 0, 1, 1, -1], [0, 1, 1, 2, 2]])
    both = pooling(tokens, owners, 3)
    for row in range(2):
        alone = pooling(tokens[row : row + 1], owners[row : row + 1], 3)
        torch.testing.assert_close(both[row : row + 1], alone)


def test_scores_far_out_stay_finite() -> None:
    pooling = SentencePooling(8, 6)
    assert (
        pooling(1e4 * torch.randn(1, 5, 8), torch.zeros(1, 5, dtype=torch.long), 1).isfinite().all()
    )


def test_a_logit_is_salience_plus_match_and_taken_sentences_are_blocked() -> None:
    head = PointerHead(4)
    encoded, decoded = torch.randn(2, 2, 3, 4)
    states = torch.randn(2, 2, 4)
    allowed = torch.tensor([True, False, True]).expand(2, 2, 3)
    keys, salience = head.sentence_keys(encoded, decoded)
    logits = head(states, keys, salience, allowed)
    assert logits.shape == (2, 2, 4)
    assert logits.dtype == torch.float32
    assert (logits[..., 1] == BLOCKED).all()
    match = (head.query(states[1, 0]) * head.key(encoded[1, 2])).sum() / 2.0
    assert logits[1, 0, 2].item() == pytest.approx((salience[1, 2] + match).item(), abs=1e-5)
    torch.testing.assert_close(logits[..., 3], head.stop(states)[..., 0])
    assert logits.softmax(dim=-1)[..., 1].max() == 0.0
