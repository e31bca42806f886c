from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from terraformer.attention_config import (
    ConvolutionalQKVConfig,
    DenseQKVConfig,
    FullAttentionConfig,
    LocalAttentionConfig,
    LSHAttentionConfig,
)
from terraformer.config import LanguageModelConfig
from terraformer.feed_forward_config import DenseFFConfig, SparseFFConfig, SwitchFFConfig
from terraformer.language_model import LanguageModel
from terraformer.position_config import AxialPositionsConfig, LearnedPositionsConfig
from terraformer.stack_config import LowRankHeadConfig, SparseHeadConfig, SRUConfig, StackConfig

SPARSE = SparseFFConfig(d_ff=32, block_size=4, d_lowrank=4)
CONFIGS = {
    "scaling": LanguageModelConfig(
        vocab_size=20,
        d_model=16,
        decoder=StackConfig(
            2,
            FullAttentionConfig(n_heads=2, qkv=ConvolutionalQKVConfig(n_modules=4)),
            SPARSE,
            residual="standard",
        ),
        positions=LearnedPositionsConfig(max_len=40),
        head=SparseHeadConfig(n_modules=4),
    ),
    "reformer": LanguageModelConfig(
        vocab_size=20,
        d_model=16,
        decoder=StackConfig(
            2,
            (
                LocalAttentionConfig(n_heads=2, chunk_len=16, qkv=DenseQKVConfig(bias=False)),
                LSHAttentionConfig(n_heads=2, chunk_len=16, n_hashes=2),
            ),
            DenseFFConfig(d_ff=32, chunk_len=8),
        ),
        positions=AxialPositionsConfig(shape=(4, 10), widths=(6, 10)),
        join_streams="concatenated",
    ),
    "terraformer": LanguageModelConfig(
        vocab_size=20,
        d_model=16,
        decoder=StackConfig(
            2, LSHAttentionConfig(n_heads=2, chunk_len=16, rotary=True), SPARSE, SRUConfig(1, 4)
        ),
        head=LowRankHeadConfig(d_lowrank=6),
    ),
    "switch": LanguageModelConfig(
        vocab_size=20,
        d_model=16,
        decoder=StackConfig(
            2,
            FullAttentionConfig(n_heads=2),
            (DenseFFConfig(d_ff=32), SwitchFFConfig(d_ff=32, n_experts=3)),
            residual="standard",
        ),
        positions=LearnedPositionsConfig(max_len=40),
    ),
}


@pytest.mark.parametrize("n_prompt", [0, 1, 11])
@pytest.mark.parametrize("name", CONFIGS)
def test_steps_are_the_forward_pass(
    name: str, n_prompt: int, assert_near: Callable[..., None]
) -> None:
    model = LanguageModel(CONFIGS[name]).eval()
    ids = torch.randint(3, 20, (2, 30))
    logits = model.logits(ids).detach()
    out, state = model.begin(ids[:, :n_prompt])
    for t in range(n_prompt, 30):
        assert_near(out, logits[:, t])
        out, state = model.step(ids[:, t], state)


@pytest.mark.parametrize("name", CONFIGS)
def test_padding_changes_nothing(name: str, assert_near: Callable[..., None]) -> None:
    model = LanguageModel(CONFIGS[name]).eval()
    ids = torch.randint(3, 20, (2, 38))
    mask = torch.ones(2, 38, dtype=torch.bool)
    mask[0, 21:] = False
    out = model.logits(ids, mask)
    for i in range(2):
        assert_near(out[i : i + 1, mask[i]], model.logits(ids[i : i + 1, mask[i]]))
    wanted = functional.cross_entropy(out[mask], ids[mask])
    assert_near(model.loss(ids, mask), wanted)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_token_is_predicted_from_those_before_it(name: str) -> None:
    model = LanguageModel(CONFIGS[name]).eval()
    ids = torch.randint(3, 20, (1, 30))
    changed = ids.clone()
    changed[:, 17] = (ids[:, 17] + 1) % 20
    logits, other = model.logits(ids), model.logits(changed)
    torch.testing.assert_close(logits[:, :18], other[:, :18])
    assert not torch.allclose(logits[:, 18:], other[:, 18:])


@pytest.mark.parametrize("name", CONFIGS)
def test_one_batch_is_learned(name: str) -> None:
    model = LanguageModel(replace(CONFIGS[name], dropout=0.0))
    ids = torch.randint(3, 20, (2, 32))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(40):
        loss = model.loss(ids)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("name", CONFIGS)
def test_seeds_make_training_repeatable(name: str) -> None:
    def gradient() -> torch.Tensor:
        torch.manual_seed(3)
        model = LanguageModel(CONFIGS[name])
        model.loss(torch.randint(3, 20, (2, 32))).backward()
        grads = [p.grad for p in model.parameters() if p.grad is not None]
        return torch.cat([grad.flatten() for grad in grads])

    assert torch.equal(gradient(), gradient())


def test_reformer_reads_both_streams() -> None:
    model = LanguageModel(CONFIGS["reformer"])
    assert model(torch.randint(3, 20, (1, 32))).shape == (1, 32, 32)
    assert model.norm.normalized_shape == (32,)


def test_too_long_a_text_says_the_way_out() -> None:
    model = LanguageModel(CONFIGS["scaling"])
    with pytest.raises(ValueError, match="max_len"):
        model(torch.ones(1, 41, dtype=torch.long))
