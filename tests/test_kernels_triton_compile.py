"""Kernels as they are launched at real sizes, compiled to the machine code of an H100.

No GPU is needed for that; what they compute is tested in the interpreter.
"""

from __future__ import annotations

import inspect
import platform
from collections.abc import Callable
from typing import Any

import pytest
import torch

from kernels.lsh_attention.triton import lsh_attention
from kernels.sparse_feed_forward.triton import sparse_feed_forward, sparse_feed_forward_step
from kernels.sru_scan.triton import sru_scan
from kernels.triton_support import interpreted

SHARED_MEMORY = 227 * 1024  # bytes that one program can have
TYPES = {
    torch.bfloat16: "bf16",
    torch.float32: "fp32",
    torch.float64: "fp64",
    torch.int32: "i32",
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
    (out[0] if isinstance(out, tuple) else out).float().sum().backward()


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
