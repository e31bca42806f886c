"""Operations on small inputs, and the memory that they really take."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from kernels import ops
from kernels.convolutional_qkv.workspace import convolutional_qkv_bytes
from kernels.expert_feed_forward.workspace import expert_feed_forward_bytes
from kernels.lsh_attention.workspace import hash_buckets_bytes, lsh_attention_bytes
from kernels.sparse_feed_forward.workspace import sparse_feed_forward_bytes
from kernels.sru_scan.workspace import sru_scan_bytes
from kernels.triton_launch import Launch, force_launch
from kernels.vocabulary_loss.workspace import vocabulary_loss_bytes


class _Live(TorchDispatchMode):
    """Counts the bytes of tensors that are made and not gone yet."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = self.peak = 0
        self._seen: weakref.WeakSet[Any] = weakref.WeakSet()

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        for item in tree_leaves((args, kwargs)):  # what was there before is not counted
            if isinstance(item, Tensor):
                self._seen.add(item.untyped_storage())
        result = function(*args, **(kwargs or {}))
        for item in tree_leaves(result):
            storage = item.untyped_storage() if isinstance(item, Tensor) else None
            if storage is not None and storage not in self._seen:
                self._seen.add(storage)
                self.bytes += storage.nbytes()
                weakref.finalize(storage, self._gone, storage.nbytes())
        self.peak = max(self.peak, self.bytes)
        return result

    def _gone(self, n_bytes: int) -> None:
        self.bytes -= n_bytes


def _workspace(call: Callable[[], object]) -> int:
    """Most bytes held while a call runs beyond what is left of it in the end."""
    with _Live() as live:
        result = call()
        gc.collect()  # Triton's interpreter leaves circles of references
        left = live.bytes
    assert result is not None
    return live.peak - left


def _attention() -> tuple[list[Any], dict[str, Any]]:
    qk, v = torch.randn(2, 1, 2, 96, 16)
    return [qk, v, torch.randint(12, (1, 2, 2, 96))], {"chunk_len": 16, "n_chunks_after": 1}


def _sparse() -> tuple[list[Any], dict[str, Any]]:
    logits, w1, w2 = torch.randn(80, 8, 16), torch.randn(128, 16), torch.randn(128, 16)
    inputs = [torch.randn(80, 16), logits, w1, w2, torch.randn(16)]
    return inputs, {"selection": "hard", "choice": logits.argmax(dim=-1)}


def _qkv() -> tuple[list[Any], dict[str, Any]]:
    gate, kernel = torch.randn(4, 32), torch.randn(8, 3, 3, 8)
    inputs = [torch.randn(1, 70, 32), torch.randn(8, 32), gate, torch.randn(32)]
    return [*inputs, kernel, torch.randn(8), torch.randn(8, 3, 1, 8), torch.randn(8)], {}


def _experts() -> tuple[list[Any], dict[str, Any]]:
    weights = torch.randn(3, 48, 16), torch.randn(3, 48), torch.randn(3, 16, 48), torch.randn(3, 16)
    return [torch.randn(50, 16), torch.tensor([20, 0, 30]), *weights], {}


def _loss() -> tuple[list[Any], dict[str, Any]]:
    layer = torch.randn(128, 32), torch.randn(4, 32), torch.randn(512)
    return [torch.randn(40, 32), torch.randint(512, (40,)), *layer], {}


CASES: dict[str, tuple[Callable[[], Any], Callable[..., int], dict[str, int]]] = {
    "lsh_attention": (
        _attention,
        lsh_attention_bytes,
        {"n_rows": 192, "n_rounds": 2, "d_head": 16, "reach": 48},
    ),
    "hash_buckets": (
        lambda: ([torch.randn(1, 2, 96, 16), torch.randn(2, 16, 2, 6), (12,)], {}),
        hash_buckets_bytes,
        {"n_heads": 2, "n_tokens": 96, "n_rounds": 2, "width": 6, "d_head": 16},
    ),
    "sru_scan": (
        lambda: ([torch.randn(1, 90, 16), torch.rand(1, 90, 16)], {}),
        sru_scan_bytes,
        {"n_texts": 1, "n_tokens": 90, "width": 16},
    ),
    "sparse_feed_forward": (
        _sparse,
        sparse_feed_forward_bytes,
        {"n_tokens": 80, "n_units": 128, "n_blocks": 8, "d_model": 16},
    ),
    "convolutional_qkv": (
        _qkv,
        convolutional_qkv_bytes,
        {
            "n_tokens": 70,
            "d_model": 32,
            "n_modules": 4,
            "kernel_size": 3,
            "length_kernel_size": 3,
        },
    ),
    "expert_feed_forward": (
        _experts,
        expert_feed_forward_bytes,
        {"n_tokens": 50, "n_units": 48, "d_model": 16},
    ),
    "vocabulary_loss": (
        _loss,
        vocabulary_loss_bytes,
        {"n_targets": 40, "d_model": 32, "vocab_size": 512, "n_modules": 4},
    ),
}


def measured(op: str, backend: str) -> tuple[int, int]:
    """Returns the bytes an operation takes forward, and backward where there are gradients."""
    torch.manual_seed(0)
    inputs, options = CASES[op][0]()
    run = getattr(ops, op)
    force_launch("sru_scan", Launch(4, 2, 1, 1))
    try:
        with torch.no_grad():
            forward = _workspace(lambda: run(*inputs, backend=backend, **options))
        if op == "hash_buckets":
            return forward, 0
        leaves = [
            item.requires_grad_() if isinstance(item, Tensor) and item.is_floating_point() else item
            for item in inputs
        ]
        outputs = run(*leaves, backend=backend, **options)
        first = outputs[0] if isinstance(outputs, tuple) else outputs
        found = [item for item in leaves if isinstance(item, Tensor) and item.requires_grad]
        upstream = torch.randn_like(first)
        return forward, _workspace(
            lambda: torch.autograd.grad(first, found, upstream, allow_unused=True)
        )
    finally:
        force_launch("sru_scan", None)
