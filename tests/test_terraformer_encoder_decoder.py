from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from published import gradients, load
from torch import Tensor
from torch.nn import functional

from terraformer.attention_config import (
    ConvolutionalQKVConfig,
    CrossAttentionConfig,
    FullAttentionConfig,
    LocalAttentionConfig,
    LSHAttentionConfig,
)
from terraformer.config import EncoderDecoderConfig
from terraformer.encoder_decoder import EncoderDecoder
from terraformer.feed_forward_config import DenseFFConfig, SparseFFConfig, SwitchFFConfig
from terraformer.position_config import (
    FixedBasePositionsConfig,
    LearnedPositionsConfig,
    SinusoidalPositionsConfig,
)
from terraformer.stack_config import (
    CopyConfig,
    DenseHeadConfig,
    SparseHeadConfig,
    SRUConfig,
    StackConfig,
)

SPARSE = SparseFFConfig(d_ff=32, block_size=4, d_lowrank=4)
QKV = ConvolutionalQKVConfig(n_modules=4)
TERRAFORMER = EncoderDecoderConfig(
    vocab_size=20,
    d_model=16,
    encoder=StackConfig(2, LSHAttentionConfig(n_heads=2, chunk_len=16), SPARSE, SRUConfig(1, 4)),
    decoder=StackConfig(
        2,
        LSHAttentionConfig(n_heads=2, chunk_len=16, n_hashes=2, qkv=QKV),
        SPARSE,
        SRUConfig(1, 4),
        n_attention=2,
    ),
    source_positions=LearnedPositionsConfig(max_len=64, d_lowrank=8),
    target_positions=SinusoidalPositionsConfig(),
    head=SparseHeadConfig(n_modules=4),
)
STANDARD = StackConfig(
    2,
    FullAttentionConfig(n_heads=2, rotary=True),
    (SPARSE, SwitchFFConfig(d_ff=32, n_experts=2)),
    residual="standard",
)
CONFIGS = {
    "terraformer": TERRAFORMER,
    "terraformer-mean": replace(
        TERRAFORMER,
        encoder=replace(TERRAFORMER.encoder, swap_last=False),
        pass_both_streams=False,
    ),
    "terraformer-local": replace(
        TERRAFORMER,
        decoder=StackConfig(
            2, LocalAttentionConfig(n_heads=2, chunk_len=8), DenseFFConfig(d_ff=32)
        ),
        head=DenseHeadConfig(),
    ),
    "cross-attention": replace(
        TERRAFORMER,
        encoder=STANDARD,
        decoder=replace(STANDARD, cross_attention=CrossAttentionConfig(n_heads=2)),
    ),
    "terraformer-copy": replace(TERRAFORMER, copy=CopyConfig(d_key=8, run_len=2)),
    "cross-attention-copy": replace(
        TERRAFORMER,
        encoder=STANDARD,
        decoder=replace(STANDARD, cross_attention=CrossAttentionConfig(n_heads=2)),
        copy=CopyConfig(d_key=8),
        head=DenseHeadConfig(),
    ),
    "reversible-encoder-cross-attention": replace(
        TERRAFORMER,
        decoder=replace(STANDARD, cross_attention=CrossAttentionConfig(n_heads=2, n_modules=4)),
    ),
}


def _batch() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    source, target = torch.randint(3, 20, (2, 14)), torch.randint(3, 20, (2, 9))
    source_mask, target_mask = torch.ones(2, 14).bool(), torch.ones(2, 9).bool()
    source_mask[0, 10:] = False
    target_mask[1, 5:] = False
    return source, target, source_mask, target_mask


@pytest.mark.parametrize("name", CONFIGS)
def test_steps_are_the_forward_pass(name: str, assert_near: Callable[..., None]) -> None:
    model = EncoderDecoder(CONFIGS[name]).eval()
    source, target, source_mask, target_mask = _batch()
    logits = model.logits(source, target, source_mask, target_mask).detach()
    for i in range(2):
        wanted, own = logits[i : i + 1, target_mask[i]], target[i : i + 1, target_mask[i]]
        out, state = model.begin(source[i : i + 1], source_mask[i : i + 1])
        for t in range(own.shape[1]):
            assert_near(out, wanted[:, t])
            out, state = model.step(own[:, t], state)


@pytest.mark.parametrize("name", CONFIGS)
def test_neither_padding_nor_the_batch_changes_anything(
    name: str, assert_near: Callable[..., None]
) -> None:
    model = EncoderDecoder(CONFIGS[name]).eval()
    source, target, source_mask, target_mask = _batch()
    logits = model.logits(source, target, source_mask, target_mask)
    for i in range(2):
        alone = model.logits(source[i : i + 1, source_mask[i]], target[i : i + 1, target_mask[i]])
        assert_near(logits[i : i + 1, target_mask[i]], alone)


@pytest.mark.parametrize("name", CONFIGS)
def test_the_future_of_the_target_changes_nothing(name: str) -> None:
    model = EncoderDecoder(CONFIGS[name]).eval()
    source, target, *_ = _batch()
    changed = target.clone()
    changed[:, 6] = (changed[:, 6] + 1) % 20
    logits, other = (model.logits(source, ids) for ids in (target, changed))
    torch.testing.assert_close(logits[:, :7], other[:, :7])
    assert not torch.allclose(logits[:, 7:], other[:, 7:])


@pytest.mark.parametrize("name", CONFIGS)
def test_the_source_has_a_say(name: str) -> None:
    model = EncoderDecoder(CONFIGS[name]).eval()
    source, target, *_ = _batch()
    other = (source + 1) % 20
    assert not torch.allclose(model.logits(source, target), model.logits(other, target))


@pytest.mark.parametrize("name", CONFIGS)
def test_every_parameter_learns_and_the_loss_is_that_of_the_logits(
    name: str, assert_near: Callable[..., None]
) -> None:
    model = EncoderDecoder(CONFIGS[name]).eval()
    batch = _batch()
    _, target, _, target_mask = batch
    loss = model.loss(*batch)
    logits = model.logits(*batch)
    assert_near(loss, functional.cross_entropy(logits[target_mask], target[target_mask]))
    model.train()
    torch.manual_seed(1)  # a draw in which controllers take part
    model.loss(*batch).backward()
    unused = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert all("experts" in n for n in unused), unused


def test_one_batch_is_learned() -> None:
    model = EncoderDecoder(replace(TERRAFORMER, dropout=0.0))
    batch = _batch()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(40):
        loss = model.loss(*batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]


def test_copying_is_learned_where_there_is_a_path_for_it() -> None:
    feed_forward = DenseFFConfig(d_ff=64)
    config = EncoderDecoderConfig(
        vocab_size=200,
        d_model=32,
        encoder=StackConfig(
            1, LocalAttentionConfig(n_heads=2, chunk_len=8, rotary=True), feed_forward
        ),
        decoder=StackConfig(
            *(1, FullAttentionConfig(n_heads=2, rotary=True), feed_forward),
            cross_attention=CrossAttentionConfig(n_heads=2),
            residual="standard",
        ),
        copy=CopyConfig(d_key=16),
        dropout=0.0,
    )
    model = EncoderDecoder(config)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)

    def batch(n_texts: int) -> tuple[Tensor, Tensor]:
        """Sources of 12 tokens, and the three that follow a marker."""
        source, marker = torch.randint(4, 200, (n_texts, 12)), torch.randint(8, (n_texts, 1))
        source.scatter_(1, marker, 3)
        return source, source.gather(1, marker + torch.arange(1, 4))

    for _ in range(150):
        loss = model.loss(*batch(16))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    # Any token of the source would cost log(12) = 2.5 nats, any of the vocabulary 5.3.
    assert model.eval().loss(*batch(200)) < 1.6


def test_decoding_several_documents_that_are_joined_says_what_to_do() -> None:
    model = EncoderDecoder(TERRAFORMER).eval()
    with pytest.raises(ValueError, match=r"2 documents: a decoder that joins .* one at a time"):
        model.begin(torch.ones(2, 4, dtype=torch.long))


@pytest.mark.parametrize("name", ["cross-attention", "cross-attention-copy"])
def test_decoders_with_cross_attention_take_batches(
    name: str, assert_near: Callable[..., None]
) -> None:
    model = EncoderDecoder(CONFIGS[name]).eval()
    source, target, source_mask, _ = _batch()
    logits = model.logits(source, target, source_mask).detach()
    out, state = model.begin(source, source_mask)
    for t in range(target.shape[1]):
        assert_near(out, logits[:, t])
        out, state = model.step(target[:, t], state)


def _published_config(golden: dict[str, Any], layers: dict[str, str]) -> EncoderDecoderConfig:
    """Reads the sizes off the published tree of layers and the shapes of its weights."""

    def paths(kind: str) -> list[str]:
        found = [path for path, name in layers.items() if re.fullmatch(kind, name)]
        return sorted(found, key=lambda path: [int(part) for part in path.split("/")[1:]])

    def shape(path: str) -> tuple[int, ...]:
        return tuple(golden[f"w{path}"].shape)

    n_encoder, n_decoder = (
        len(paths(f"ReversibleHalfResidual{side}FF")) for side in ("Encoder", "Decoder")
    )
    vocab_size, d_model = (int(n) for n in layers[paths("Embedding_.*")[0]].split("_")[1:])
    first_ff = paths("ReversibleHalfResidualDecoderFF")[0]
    controllers = paths("_SparseFFController_.*")
    if controllers:
        d_lowrank, n_blocks, block_size = shape(f"{controllers[0]}/1")
        feed_forward = SparseFFConfig(n_blocks * block_size, block_size, d_lowrank)
    else:
        dense = [path for path in paths("Dense_.*") if path.startswith(f"{first_ff}/")]
        feed_forward = DenseFFConfig(d_ff=int(layers[dense[0]].split("_")[1]))
    recurrent = [path for path in paths("SRU_.*") if path.startswith(f"{first_ff}/")]
    sru = None
    if recurrent:
        sru = SRUConfig(len(recurrent), int(layers[recurrent[0]].split("_")[1]))
    first = paths("ReversibleHalfResidualDecoderAttn")[0]
    kernels = [n for n in golden if n.startswith(f"w{first}/") and golden[n].dim() == 4]
    attention = decoder_attention = FullAttentionConfig(n_heads=4)
    if kernels:
        length_kernel_size, kernel_size, d_module, _ = golden[kernels[0]].shape
        decoder_attention = FullAttentionConfig(
            n_heads=4,
            qkv=ConvolutionalQKVConfig(d_model // d_module, kernel_size, length_kernel_size),
        )
    encoder_swaps = [p for p in paths("ReversibleSwap") if p.startswith("/4/1/")]
    tables = [p for p in paths("PositionalEncoding") if f"w{p}" in golden]
    positions = FixedBasePositionsConfig()
    if tables:
        positions = LearnedPositionsConfig(max_len=shape(tables[0])[0])
    gates = [n for n in paths(r"Weights_\[.*, .*\]") if n.startswith("/1")]
    head = SparseHeadConfig(n_modules=shape(gates[0])[0]) if gates else DenseHeadConfig()
    return EncoderDecoderConfig(
        vocab_size=vocab_size,
        d_model=d_model,
        encoder=StackConfig(
            n_encoder, attention, feed_forward, sru, swap_last=len(encoder_swaps) == 2 * n_encoder
        ),
        decoder=StackConfig(
            n_decoder,
            decoder_attention,
            feed_forward,
            sru,
            n_attention=len(paths("ReversibleHalfResidualDecoderAttn")) // n_decoder,
        ),
        source_positions=positions,
        target_positions=positions,
        head=head,
        pass_both_streams="ConcatWithPadding2" in layers.values(),
    )


@pytest.mark.golden("terraformer_")
@pytest.mark.parametrize("recompute", [True, False], ids=["recomputed", "stored"])
def test_terraformer_as_published(
    golden: dict[str, Any],
    golden_path: Any,
    recompute: bool,
    assert_near: Callable[..., None],
) -> None:
    tree = golden_path.with_name(f"{golden_path.stem}_tree.json")
    config = _published_config(golden, json.loads(tree.read_text())["layers"])
    model = EncoderDecoder(config, recompute).eval()
    load(model, golden)
    assert sum(p.numel() for p in model.parameters()) == golden.get("n_params")
    source, target = golden["tok_e"].long(), golden["tok_d"].long()
    # The published decoder has no mask: padding of the target is read like any token.
    logits = model.logits(source, target, source != 0)
    assert_near(logits, golden["logits"])
    loss = functional.cross_entropy(logits[target != 0], target[target != 0])
    assert_near(loss, torch.as_tensor(golden["loss"]))
    loss.backward()
    for own, gradient in gradients(model, golden):
        assert_near(own, gradient, grad=True)
