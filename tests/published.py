"""Weights of the published code's golden files, laid out as our modules hold them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from terraformer.attention import SelfAttention
from terraformer.branch import Branch, FeedForwardBranch
from terraformer.encoder_decoder import EncoderDecoder
from terraformer.feed_forward import DenseFF, SparseFF
from terraformer.positions import FixedBasePositions, LearnedPositions
from terraformer.sparse_dense import ConvolutionalDense, MultiplicativeDense
from terraformer.sru import SRU, SRUBranch


class Slot(NamedTuple):
    """A parameter, and how it is made of the next leaves of the published tree."""

    parameter: nn.Parameter
    n_leaves: int
    make: Callable[..., Tensor]


def leaves(golden: dict[str, Any], kind: str = "w") -> list[Tensor]:
    """Returns the leaves of the weights ("w") or their gradients ("gw") in the tree's order."""
    names = [name for name in golden if name.startswith(f"{kind}/")]
    names.sort(key=lambda name: [int(part) for part in name.split("/")[1:]])
    return [golden[name] for name in names]


def arrange(module: nn.Module, found: list[Tensor]) -> Iterator[tuple[nn.Parameter, Tensor]]:
    """Yields every parameter of `module` with its values out of the leaves `found`."""
    at = 0
    for slot in slots(module):
        yield slot.parameter, slot.make(*found[at : at + slot.n_leaves])
        at += slot.n_leaves
    assert at == len(found), f"{len(found) - at} leaves of {len(found)} are left"


def load(module: nn.Module, golden: dict[str, Any]) -> None:
    """Gives `module` the weights of a golden file."""
    given = set()
    with torch.no_grad():
        for parameter, value in arrange(module, leaves(golden)):
            parameter.copy_(value)
            given.add(parameter)
    assert given == set(module.parameters())


def gradients(module: nn.Module, golden: dict[str, Any]) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields the gradient of every parameter, and the published one; none where the file has none.

    Where a choice cuts a parameter off, its gradient is zero.
    """
    found = leaves(golden, "gw")
    for parameter, gradient in arrange(module, found) if found else ():
        own = parameter.grad
        yield (torch.zeros_like(parameter) if own is None else own), gradient


def slots(module: nn.Module) -> list[Slot]:
    """Returns the parameters of `module` in the order of the published tree."""
    for kind, of_kind in _SLOTS.items():
        if isinstance(module, kind):
            return of_kind(module)
    return [slot for child in module.children() for slot in slots(child)]


def _same(*parameters: nn.Parameter | None) -> list[Slot]:
    return [Slot(p, 1, lambda leaf: leaf) for p in parameters if p is not None]


def _linear(layer: nn.Linear) -> list[Slot]:
    return [Slot(layer.weight, 1, lambda leaf: leaf.T), *_same(layer.bias)]


def _multiplicative(layer: MultiplicativeDense) -> list[Slot]:
    return [
        *_same(layer.gate),
        Slot(layer.projection, 1, lambda leaf: leaf.T),
        *_same(layer.bias),
    ]


def _convolutional(layer: ConvolutionalDense) -> list[Slot]:
    return [Slot(layer.weight, 1, lambda leaf: leaf.permute(3, 0, 1, 2)), *_same(layer.bias)]


def _dense_ff(layer: DenseFF) -> list[Slot]:
    return _linear(layer.w1) + _linear(layer.w2)


def _sparse_ff(layer: SparseFF) -> list[Slot]:
    return [
        Slot(layer.controller_in, 1, lambda leaf: leaf.T),
        Slot(layer.controller_out, 1, lambda leaf: leaf.flatten(1).T),
        Slot(layer.controller_bias, 1, lambda leaf: leaf.flatten()),
        Slot(layer.w1, 1, lambda leaf: leaf.flatten(1).T),
        Slot(layer.w2, 1, lambda leaf: leaf.transpose(0, 1).flatten(0, 1)),
        *_same(layer.b2),
    ]


def _sru_branch(branch: SRUBranch) -> list[Slot]:
    recurrent = [slot for layer in branch.layers for slot in slots(layer)]
    return slots(branch.norm) + _linear(branch.w_in) + recurrent + _linear(branch.w_out)


def _feed_forward_branch(branch: FeedForwardBranch) -> list[Slot]:
    own = slots(branch.norm) + slots(branch.feed_forward)
    return own if branch.sru is None else own + slots(branch.sru)


def _learned(layer: LearnedPositions) -> list[Slot]:
    return _same(layer.table) + ([] if layer.projection is None else _linear(layer.projection))


def _fixed_base(layer: FixedBasePositions) -> list[Slot]:
    shape = layer.scales.shape
    return [
        Slot(layer.scales, shape[0] * shape[1], lambda *leaves: torch.cat(leaves).view(shape)),
        Slot(layer.start_vector, 1, lambda leaf: leaf.flatten()),
    ]


def _encoder_decoder(model: EncoderDecoder) -> list[Slot]:
    """The published tree holds the shared embedding once, and the target's positions before
    the blocks."""
    parts = (
        model.embedding,
        model.source_positions,
        model.target_positions,
        model.encoder,
        model.bridge,
        model.decoder,
        model.norm,
        model.head,
    )
    return [slot for part in parts if part is not None for slot in slots(part)]


_SLOTS: dict[type[nn.Module], Callable[[Any], list[Slot]]] = {
    EncoderDecoder: _encoder_decoder,
    FeedForwardBranch: _feed_forward_branch,
    Branch: lambda branch: slots(branch.norm) + slots(branch.attention),
    SelfAttention: lambda layer: slots(layer.qkv) + slots(layer.output),
    SRUBranch: _sru_branch,
    SRU: lambda layer: _linear(layer.gates),
    DenseFF: _dense_ff,
    SparseFF: _sparse_ff,
    MultiplicativeDense: _multiplicative,
    ConvolutionalDense: _convolutional,
    LearnedPositions: _learned,
    FixedBasePositions: _fixed_base,
    nn.Linear: _linear,
    nn.LayerNorm: lambda layer: _same(layer.weight, layer.bias),
    nn.Embedding: lambda layer: _same(layer.weight),
}
