"""Kernels as they are launched at real sizes, compiled to the machine code of an H100.

No GPU is needed for that; what they compute is tested in the interpreter.
"""

from __future__ import annotations

import inspect
import platform
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch

from kernels.convolutional_qkv.triton import convolutional_qkv
from kernels.expert_feed_forward.triton import expert_feed_forward
from kernels.lsh_attention.triton import lsh_attention
from kernels.sparse_feed_forward.triton import sparse_feed_forward, sparse_feed_forward_step
from kernels.sru_scan.triton import sru_scan
from kernels.triton_support import interpreted
from kernels.vocabulary_loss.triton import vocabulary_loss

SHARED_MEMORY = 227 * 1024  # bytes that one program can have
TYPES = {
    torch.bfloat16: "bf16",
    torch.float32: "fp32",
    torch.float64: "fp64",
    torch.int32: "i32",
    torch.int64: "i64",
    torch.uint8: "u8",
}


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What was compiled by the names of kernels, from here on, instead of run."""
    if platform.system() != "Linux":
        pytest.skip("Triton's compiler for NVIDIA is built for Linux alone")
    pytest.importorskip("triton", reason="triton is not installed")
    if interpreted():
        pytest.skip("TRITON_INTERPRET is set: nothing is compiled")
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    found: dict[str, Any] = {}

    def run(self: Any, *arguments: Any, grid: Any, warmup: bool, **keywords: Any) -> None:
        if self.__name__ in found:
            return
        options = {
            name: keywords.pop(name) for name in ("num_warps", "num_stages") if name in keywords
        }
        bound = inspect.signature(self.fn).bind(*arguments, **keywords).arguments
        constants = {p.name: bound[p.name] for p in self.params if p.is_constexpr}
        attributes = {
            (i,): [["tt.divisibility", 16]]
            for i, value in enumerate(bound.values())
            if isinstance(value, torch.Tensor)
        }
        signature = {
            name: "constexpr" if name in constants else _type_of(value)
            for name, value in bound.items()
        }
        source = ASTSource(self, signature, constants, attributes)
        kernel = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)
        found[self.__name__] = kernel

    monkeypatch.setattr(triton.runtime.jit.JITFunction, "run", run)
    return found


def _type_of(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        return "*" + TYPES[value.dtype]
    return "i32" if isinstance(value, int) else "fp32"


def _differentiate(function: Callable[..., Any], *inputs: torch.Tensor, **options: Any) -> None:
    leaves = [item.requires_grad_() if item.is_floating_point() else item for item in inputs]
    out = function(*leaves, **options)
    outputs = out if isinstance(out, tuple) else (out,)
    sum(item.float().sum() for item in outputs).backward()


def _check(compiled: dict[str, Any], names: set[str], instruction: str | None = None) -> None:
    assert set(compiled) == names
    for name, kernel in compiled.items():
        assert kernel.metadata.shared <= SHARED_MEMORY, name
        assert kernel.asm["cubin"], name
        if instruction and "row_dot" not in name:
            assert instruction in kernel.asm["ptx"], name


def test_lsh_attention_uses_tensor_cores(compiled: dict[str, Any]) -> None:
    qk, v = (torch.zeros(1, 1, 512, 64, dtype=torch.bfloat16) for _ in range(2))
    buckets = torch.zeros(1, 1, 2, 512, dtype=torch.int64)
    _differentiate(lsh_attention, qk, v, buckets, chunk_len=128, causal=True)
    names = {"row_dot_kernel", "lsh_attention_fwd_kernel", "lsh_attention_bwd_kernel"}
    _check(compiled, names, "wgmma")


def test_sru_scan(compiled: dict[str, Any]) -> None:
    x = torch.zeros(1, 1024, 128, dtype=torch.bfloat16)
    _differentiate(sru_scan, x, torch.zeros_like(x))
    kinds = ("block", "carry", "fwd", "bwd")
    _check(compiled, {f"sru_scan_{kind}_kernel" for kind in kinds})


def test_sparse_feed_forward(compiled: dict[str, Any]) -> None:
    x, b2 = torch.zeros(4, 256, dtype=torch.bfloat16), torch.zeros(256, dtype=torch.bfloat16)
    logits = torch.zeros(4, 8, 64, dtype=torch.bfloat16)
    w1, w2 = (torch.zeros(512, 256, dtype=torch.bfloat16) for _ in range(2))
    with torch.no_grad():
        sparse_feed_forward_step(x, logits, w1, w2, b2)
    _differentiate(sparse_feed_forward, x, logits, w1, w2, b2, selection="straight_through")
    kinds = ("fwd", "bwd", "units", "out")
    _check(compiled, {f"sparse_feed_forward_{kind}_kernel" for kind in kinds})


@pytest.mark.parametrize("n_modules", [0, 4], ids=["dense", "sparse"])
def test_vocabulary_loss(n_modules: int, compiled: dict[str, Any]) -> None:
    n_tokens, width, vocab_size = 256, 1024, 32_000
    shapes = (n_tokens, width), (vocab_size // max(1, n_modules), width), (vocab_size,)
    states, projection, bias = (torch.zeros(shape, dtype=torch.bfloat16) for shape in shapes)
    targets = torch.zeros(n_tokens, dtype=torch.int64)
    gate = projection.new_zeros(n_modules, width).requires_grad_() if n_modules else None
    _differentiate(
        lambda *items: vocabulary_loss(*items[:3], gate, items[3]),
        *(states, targets, projection, bias),
    )
    names = {f"vocabulary_loss_{kind}_kernel" for kind in ("fwd", "bwd")}
    _check(compiled, names | {f"multiplicative_{kind}_kernel" for kind in ("dx", "dw")}, "wgmma")


def test_expert_feed_forward(compiled: dict[str, Any]) -> None:
    n_experts, d_model, d_ff = 8, 768, 3072
    shapes = (n_experts, d_ff, d_model), (n_experts, d_ff), (n_experts, d_model, d_ff)
    shapes = (512, d_model), *shapes, (n_experts, d_model)
    tokens, *weights = (torch.zeros(shape, dtype=torch.bfloat16) for shape in shapes)
    _differentiate(
        partial(expert_feed_forward, kept=torch.ones(512, d_ff, dtype=torch.bool), dropout=0.1),
        *(tokens, torch.full((n_experts,), 64), *weights),
    )
    names = {f"expert_feed_forward_{kind}_kernel" for kind in ("fwd", "dx", "dw")}
    _check(compiled, names, "wgmma")


@pytest.mark.parametrize("d_module", [64, 144], ids=lambda n: f"M{n}")
def test_convolutional_qkv(d_module: int, compiled: dict[str, Any]) -> None:
    n_modules, around, within = 4, (d_module, 3, 3, d_module), (d_module, 3, 1, d_module)
    d_model, bias = n_modules * d_module, (d_module,)
    shapes = (1, 256, d_model), (d_module, d_model), (n_modules, d_model), (d_model,)
    shapes = *shapes, around, bias, within, bias, around, bias
    inputs = (torch.zeros(shape, dtype=torch.bfloat16) for shape in shapes)
    _differentiate(convolutional_qkv, *inputs)
    names = {
        f"{name}_{kind}_kernel"
        for name in ("convolutional_qkv", "multiplicative")
        for kind in ("fwd", "dx", "dw")
    }
    _check(compiled, names, "wgmma")
