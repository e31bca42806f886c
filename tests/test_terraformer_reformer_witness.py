"""Our layers against an independent Reformer, that of `transformers`, with the same weights.

Where that one behaves as the published code and we do not, on purpose, `as_published` is switched
on: chunks that run on from round to round (more than one round), padding that takes room in chunks
(padded sequences), first and last chunk that are neighbours (local attention in both directions).
Elsewhere our layers run as they are. Outputs at padded positions have no meaning in either.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import ReformerConfig
from transformers.models.reformer import modeling_reformer as reformer

from terraformer.attention_config import DenseQKVConfig, LocalAttentionConfig, LSHAttentionConfig
from terraformer.blocks import Stack
from terraformer.feed_forward_config import DenseFFConfig
from terraformer.local_attention import LocalAttention
from terraformer.lsh_attention import LSHAttention, factor_buckets
from terraformer.replay import Replay
from terraformer.stack_config import StackConfig

Pairs = list[tuple[nn.Module, nn.Module]]

HEADS, D_MODEL, CHUNK, LENGTH, SEED = 2, 16, 8, 64, 5
MASK = torch.ones(2, LENGTH, dtype=torch.bool)
MASK[0, 40:] = False
MASK[1, :9] = False


def _their_config(causal: bool, n_hashes: int, n_buckets: int, layers: list[str]) -> ReformerConfig:
    factors = factor_buckets(n_buckets)
    n_after = 0 if causal else 1
    return ReformerConfig(
        attn_layers=layers,
        num_hidden_layers=len(layers),
        hidden_size=D_MODEL,
        num_attention_heads=HEADS,
        attention_head_size=D_MODEL // HEADS,
        feed_forward_size=32,
        hidden_act="relu",
        num_hashes=n_hashes,
        num_buckets=list(factors) if len(factors) > 1 else n_buckets,
        hash_seed=SEED,
        lsh_attn_chunk_length=CHUNK,
        lsh_num_chunks_after=n_after,
        local_attn_chunk_length=CHUNK,
        local_num_chunks_after=n_after,
        is_decoder=causal,
        hidden_dropout_prob=0.0,
        lsh_attention_probs_dropout_prob=0.0,
        local_attention_probs_dropout_prob=0.0,
        layer_norm_eps=1e-6,
    )


def _share_rotations(layer: LSHAttention, dtype: torch.dtype) -> None:
    """Gives a layer the rotations that theirs draws from its seed at every call."""
    factors = factor_buckets(layer.config.n_buckets or 0)
    torch.manual_seed(SEED)
    shape = *layer.rotations.shape[1:4], sum(factors) // 2
    rotations = torch.randn(shape, dtype=dtype).split([factor // 2 for factor in factors], dim=-1)
    for ours, theirs in zip(layer.rotations, rotations, strict=False):
        ours[..., : theirs.shape[-1]] = theirs


def _attention_pairs(ours: LSHAttention | LocalAttention, theirs: Any, output: Any) -> Pairs:
    """Our projections beside theirs."""
    names = ("query_key", "value") if ours.qkv.shares_qk else ("query", "key", "value")
    inputs = zip(ours.qkv.children(), (getattr(theirs, name) for name in names), strict=True)
    return [*inputs, (ours.output.w_o, output.dense)]


def _share_weights(pairs: Pairs) -> None:
    for ours, theirs in pairs:
        ours.load_state_dict(theirs.state_dict())


def _compare(
    ours: Callable[[Tensor], Tensor],
    theirs: Callable[[Tensor], Tensor],
    pairs: Pairs,
    x: Tensor,
    compared: Tensor,
    assert_near: Callable[..., None],
) -> None:
    """Compares outputs where `compared` [B, L], and all gradients of what is there."""
    leaves = [x.clone().requires_grad_() for _ in range(2)]
    outs = [layer(leaf) for layer, leaf in zip((ours, theirs), leaves, strict=True)]
    assert_near(outs[0][compared], outs[1][compared])
    cotangent = torch.randn_like(outs[0]) * compared[..., None]
    for out in outs:
        out.backward(cotangent)
    assert_near(leaves[0].grad, leaves[1].grad, grad=True)
    for pair in pairs:
        for one, other in zip(*(module.parameters() for module in pair), strict=True):
            assert other.grad is not None
            assert other.grad.any()
            assert_near(one.grad, other.grad, grad=True)


def _alone(layer: LSHAttention, x: Tensor, mask: Tensor | None) -> Tensor:
    """Positions, [B, L], that have nobody else in reach in any round, in some head."""
    q, k, _ = layer._heads(layer.qkv(x), torch.arange(LENGTH))
    each = torch.eye(LENGTH, dtype=x.dtype).expand(*q.shape[:3], -1)
    own = layer._attend(q, k, each, mask, Replay()).diagonal(dim1=-2, dim2=-1)
    return (own > 0.5).any(dim=1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("n_buckets", [4, 256], ids=["one-hash", "factored"])
@pytest.mark.parametrize("n_hashes", [1, 2], ids=lambda n: f"R{n}")
@pytest.mark.parametrize("padded", [False, True], ids=["whole", "padded"])
@pytest.mark.parametrize("causal", [False, True], ids=["both", "causal"])
def test_lsh_attention(
    causal: bool,
    padded: bool,
    n_hashes: int,
    n_buckets: int,
    dtype: torch.dtype,
    assert_near: Callable[..., None],
) -> None:
    config = _their_config(causal, n_hashes, n_buckets, ["lsh"])
    theirs = reformer.LSHSelfAttention(config, 0).to(dtype)
    output = reformer.ReformerSelfOutput(config).to(dtype)
    ours = LSHAttention(
        LSHAttentionConfig(HEADS, n_hashes, CHUNK, n_buckets=n_buckets),
        D_MODEL,
        causal,
        as_published=padded or n_hashes > 1,
    ).to(dtype)
    _share_rotations(ours, dtype)
    pairs = _attention_pairs(ours, theirs, output)
    _share_weights(pairs)
    mask = MASK if padded else None
    x = torch.randn(2, LENGTH, D_MODEL, dtype=dtype)
    compared = torch.ones_like(MASK) if mask is None else mask
    if n_hashes > 1 and dtype == torch.float32:
        # Their weights of the rounds are exp(l - logsumexp(l)) with l near -1e5 at positions that
        # are alone: in float32 they do not add up to one.
        alone = _alone(ours, x, mask)
        assert alone.float().mean() < 0.2
        compared = compared & ~alone
    _compare(
        lambda x: ours(x, mask),
        lambda x: output(theirs(x, attention_mask=mask).hidden_states),
        pairs,
        x,
        compared,
        assert_near,
    )


@pytest.mark.parametrize("padded", [False, True], ids=["whole", "padded"])
@pytest.mark.parametrize("causal", [False, True], ids=["both", "causal"])
def test_local_attention(causal: bool, padded: bool, assert_near: Callable[..., None]) -> None:
    config = _their_config(causal, 1, 4, ["local"])
    theirs = reformer.LocalSelfAttention(config, 0)
    output = reformer.ReformerSelfOutput(config)
    ours = LocalAttention(
        LocalAttentionConfig(HEADS, CHUNK, qkv=DenseQKVConfig(bias=False)),
        D_MODEL,
        causal,
        as_published=padded or not causal,
    )
    pairs = _attention_pairs(ours, theirs, output)
    _share_weights(pairs)
    mask = MASK if padded else None
    _compare(
        lambda x: ours(x, mask),
        lambda x: output(theirs(x, attention_mask=mask).hidden_states),
        pairs,
        torch.randn(2, LENGTH, D_MODEL),
        torch.ones_like(MASK) if mask is None else mask,
        assert_near,
    )


@pytest.mark.parametrize("causal", [False, True], ids=["both", "causal"])
def test_reversible_blocks(causal: bool, assert_near: Callable[..., None]) -> None:
    """A block of local attention and one of LSH, both with feed-forward, as in Reformer.

    Both sides compute activations anew in the backward pass, with the buckets of the forward pass.
    """
    config = _their_config(causal, 1, 4, ["local", "lsh"])
    theirs = reformer.ReformerEncoder(config).train()
    theirs.layer_norm = nn.Identity()  # ours comes after the stack
    attention = (
        LocalAttentionConfig(HEADS, CHUNK, qkv=DenseQKVConfig(bias=False)),
        LSHAttentionConfig(HEADS, 1, CHUNK, n_buckets=4),
    )
    ours = Stack(StackConfig(2, attention, DenseFFConfig(d_ff=32)), D_MODEL, causal).train()
    pairs: Pairs = []
    for block, layer in zip(ours.sequence.blocks, theirs.layers, strict=True):
        attending, forwarding = block.branches
        layer_attention, layer_forward = layer.attention, layer.feed_forward
        if isinstance(attending.attention, LSHAttention):
            _share_rotations(attending.attention, torch.float32)
        attending.attention.as_published = not causal  # their local chunks form a circle
        pairs += [
            (attending.norm, layer_attention.layer_norm),
            *_attention_pairs(
                attending.attention, layer_attention.self_attention, layer_attention.output
            ),
            (forwarding.norm, layer_forward.layer_norm),
            (forwarding.feed_forward.w1, layer_forward.dense.dense),
            (forwarding.feed_forward.w2, layer_forward.output.dense),
        ]
    _share_weights(pairs)
    _compare(
        lambda x: torch.cat(ours.streams(x, x), dim=-1),
        lambda x: theirs(x).hidden_states,
        pairs,
        torch.randn(2, LENGTH, D_MODEL),
        torch.ones_like(MASK),
        assert_near,
    )
