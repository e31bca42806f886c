"""LSH attention in `eval.kernels`: its checks, and its races against full and masked attention."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from eval.kernels_case import Check, Function, Race, Suite, dtype_name
from kernels import ops
from kernels.lsh_attention.reference import lsh_attention as reference
from kernels.lsh_attention.reference import unit_length
from kernels.lsh_attention.triton import sort_positions

_N_ROUNDS, _D_HEAD = 2, 64


def suite(tiny: bool) -> Suite:
    """Checks of every precision and window; races at 4k to 256k tokens."""
    if tiny:
        checks = [_check(40, 16, torch.float32, True), _check(40, 16, torch.float16, False)]
        return Suite("lsh_attention", checks, [_race(48, 1, 16, torch.float32)])
    checks = [
        _check(length, chunk_len, dtype, causal, d_head)
        for dtype in (torch.float32, torch.float16, torch.bfloat16)
        for length, chunk_len, causal, d_head in (
            (16_384, 128, True, 64),
            (8_191, 100, False, 96),
        )
    ]
    checks += [
        _check(1_000, 128, torch.float64, True, 64),
        _check(262_144, 128, torch.bfloat16, True, 64, n_heads=1),
    ]
    races = [
        _race(length, 8, 128, torch.bfloat16, skip)
        for length, skip in (
            (4_096, ("eager", "compile", "flex")),
            (16_384, ()),
            (65_536, ()),
            (262_144, ("eager", "compile", "flex")),
        )
    ]
    return Suite("lsh_attention", checks, races)


def _inputs(
    length: int,
    n_heads: int,
    chunk_len: int,
    dtype: torch.dtype,
    d_head: int,
    padded: bool,
    device: torch.device,
) -> list[Tensor | None]:
    qk, v = (torch.randn(1, n_heads, length, d_head, device=device).to(dtype) for _ in range(2))
    mask = None
    if padded:
        mask = (torch.arange(length, device=device) < length - length // 9)[None]
    n_buckets = 2 * max(1, length // chunk_len)
    buckets = torch.randint(n_buckets, (1, n_heads, _N_ROUNDS, length), device=device)
    return [qk, v, buckets, mask]


def _check(
    length: int,
    chunk_len: int,
    dtype: torch.dtype,
    causal: bool,
    d_head: int = _D_HEAD,
    n_heads: int = 2,
) -> Check:
    kind = "causal" if causal else "both sides"
    return Check(
        f"L{length} C{chunk_len} K{d_head} {kind}",
        dtype,
        partial(_inputs, length, n_heads, chunk_len, dtype, d_head, True),
        {"chunk_len": chunk_len, "n_chunks_after": 0 if causal else 1, "causal": causal},
    )


def _race(
    length: int, n_heads: int, chunk_len: int, dtype: torch.dtype, skip: tuple[str, ...] = ()
) -> Race:
    options: dict[str, Any] = {"chunk_len": chunk_len, "causal": True}
    contestants: dict[str, Callable[[], Function]] = {
        "triton": lambda: partial(ops.lsh_attention, backend="triton", **options),
        "eager": lambda: partial(reference, **options),
        "compile": lambda: torch.compile(partial(reference, **options)),
        "sdpa": lambda: _full_attention,
        "flex": lambda: _flex_attention(chunk_len),
    }
    pairs = n_heads * _N_ROUNDS * length * 2 * chunk_len  # queries times keys in reach
    return Race(
        f"L{length} H{n_heads} C{chunk_len} K{_D_HEAD} R{_N_ROUNDS} {dtype_name(dtype)} causal",
        partial(_inputs, length, n_heads, chunk_len, dtype, _D_HEAD, False),
        {name: build for name, build in contestants.items() if name not in skip},
        forward_flops=4 * pairs * _D_HEAD,
        backward_flops=10 * pairs * _D_HEAD,
    )


def _full_attention(qk: Tensor, v: Tensor, buckets: Tensor, mask: Tensor | None) -> Tensor:
    """Causal attention to everything, PyTorch's fastest kernel; buckets and mask are not used."""
    return F.scaled_dot_product_attention(qk, unit_length(qk).to(qk.dtype), v, is_causal=True)


def _flex_attention(chunk_len: int) -> Function:
    """The same sparse attention as blocks of flex_attention over sorted copies."""
    from torch.nn.attention.flex_attention import BlockMask, flex_attention

    compiled = torch.compile(flex_attention, dynamic=False)

    def attend(qk: Tensor, v: Tensor, buckets: Tensor, mask: Tensor | None) -> Tensor:
        _, n_heads, n_rounds, length = buckets.shape
        order, _ = sort_positions(buckets, mask)
        index = order.long().view(1, n_heads * n_rounds, length)
        n_chunks = length // chunk_len
        chunk = torch.arange(n_chunks, dtype=torch.int32, device=qk.device)
        near = torch.stack([chunk, (chunk - 1) % n_chunks], dim=-1)
        columns = F.pad(near, (0, n_chunks - 2))[None, None]
        blocks = BlockMask.from_kv_blocks(
            torch.full((1, 1, n_chunks), 2, dtype=torch.int32, device=qk.device),
            columns,
            BLOCK_SIZE=chunk_len,
            mask_mod=lambda b, h, q, k: index[b, h, q] >= index[b, h, k],
        )

        def penalize(score: Tensor, b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
            return torch.where(index[b, h, q] == index[b, h, k], score - ops.SELF_PENALTY, score)

        rows = index[..., None].expand(-1, -1, -1, qk.shape[-1])
        q, k, values = (
            item.repeat_interleave(n_rounds, dim=1).gather(2, rows)
            for item in (qk, unit_length(qk).to(qk.dtype), v)
        )
        out, total = compiled(q, k, values, penalize, blocks, scale=1.0, return_lse=True)
        out = torch.zeros_like(out).scatter(2, rows, out).unflatten(1, (n_heads, n_rounds))
        total = torch.zeros_like(total).scatter(2, index, total).unflatten(1, (n_heads, n_rounds))
        return (out * total.softmax(dim=2)[..., None].to(out.dtype)).sum(dim=2)

    return attend
