"""LSH attention for the CPU: a few chunks at a time, so that scores stay in the cache.

The backward pass is written by hand. It keeps no scores and computes them anew, so memory grows
with L alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.amp.autocast_mode import custom_bwd, custom_fwd
from torch.autograd.function import once_differentiable

from kernels.lsh_attention.reference import (
    MASK_PENALTY,
    NORM_EPSILON,
    SELF_PENALTY,
    at_least_float32,
    check_shapes,
    sort_by_bucket,
    unit_length,
)

_SCORES_AT_ONCE = 1 << 18  # elements, 1 MiB in float32: what a core's second cache holds


def lsh_attention(
    qk: Tensor,
    v: Tensor,
    buckets: Tensor,
    mask: Tensor | None = None,
    *,
    chunk_len: int,
    n_chunks_before: int = 1,
    n_chunks_after: int = 0,
    causal: bool = False,
    weight_scale: Tensor | None = None,
) -> Tensor:
    """Computes what `kernels.lsh_attention.reference` defines, without its option."""
    window = (chunk_len, n_chunks_before, n_chunks_after)
    check_shapes(qk, v, buckets, mask, window, weight_scale)
    if mask is None:
        mask = torch.ones(qk.shape[0], qk.shape[2], dtype=torch.bool, device=qk.device)
    order = sort_by_bucket(buckets, mask)
    return _LSHAttention.apply(qk, v, order, mask.sum(dim=-1), window, causal, weight_scale)


class _LSHAttention(torch.autograd.Function):
    @staticmethod
    @custom_fwd(device_type="cpu", cast_inputs=torch.float32)
    def forward(
        ctx: Any,
        qk: Tensor,
        v: Tensor,
        order: Tensor,
        lengths: Tensor,
        window: tuple[int, int, int],
        causal: bool,
        weight_scale: Tensor | None,
    ) -> Tensor:
        q, values = at_least_float32(qk), at_least_float32(v)
        k = unit_length(q)
        n_rounds = order.shape[2]
        inverse = _inverse(order)
        out = torch.empty_like(values)
        weights = values.new_zeros(order.shape) if n_rounds > 1 else None
        for b, length in enumerate(lengths.tolist()):
            for h in range(order.shape[1]):
                scale = None if weight_scale is None else weight_scale[b, h]
                if weights is None:
                    circle = _Circle.of(order[b, h, 0, :length], window, causal, scale)
                    part, _ = _attend(circle, q[b, h], k[b, h], values[b, h], False)
                    out[b, h] = _unsort(part, inverse[b, h, 0], length)
                    continue
                parts = values.new_zeros(n_rounds, *out.shape[2:])
                for r in range(n_rounds):
                    circle = _Circle.of(order[b, h, r, :length], window, causal, scale)
                    part, total = _attend(circle, q[b, h], k[b, h], values[b, h], True)
                    parts[r] = _unsort(part, inverse[b, h, r], length)
                    weights[b, h, r] = _unsort(total, inverse[b, h, r], length)
                weights[b, h] = weights[b, h].softmax(dim=0)
                out[b, h] = (parts * weights[b, h][..., None]).sum(dim=0)
        ctx.save_for_backward(qk, v, order, lengths, out, weights, weight_scale)
        ctx.window, ctx.causal = window, causal
        return out.to(v.dtype)

    @staticmethod
    @once_differentiable
    @custom_bwd(device_type="cpu")
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, grad: Tensor
    ) -> tuple[Tensor | None, ...]:
        qk, v, order, lengths, out, weights, weight_scale = ctx.saved_tensors
        q, values, grad = at_least_float32(qk), at_least_float32(v), at_least_float32(grad)
        k = unit_length(q)
        grad_dot_out = (grad * out).sum(dim=-1)  # [B, H, L]
        inverse = _inverse(order)
        dq, dk, dv = torch.zeros_like(q), torch.zeros_like(k), torch.zeros_like(values)
        for b, length in enumerate(lengths.tolist()):
            for h in range(order.shape[1]):
                scale = None if weight_scale is None else weight_scale[b, h]
                for r in range(order.shape[2]):
                    circle = _Circle.of(order[b, h, r, :length], ctx.window, ctx.causal, scale)
                    g, g_dot_out = grad[b, h], grad_dot_out[b, h]
                    if weights is not None:
                        g = g * weights[b, h, r][:, None]
                        g_dot_out = g_dot_out * weights[b, h, r]
                    parts = _attend_backward(circle, q[b, h], k[b, h], values[b, h], g, g_dot_out)
                    for total, part in zip((dq[b, h], dk[b, h], dv[b, h]), parts, strict=True):
                        total += _unsort(part, inverse[b, h, r], length)
        # k = q / (sqrt(mean(q^2) + e) * sqrt(K))
        power = q.square().mean(dim=-1, keepdim=True) + NORM_EPSILON
        along = (q * dk).sum(dim=-1, keepdim=True) / (power * q.shape[-1])
        dq += (dk - q * along) * (power.rsqrt() * q.shape[-1] ** -0.5)
        return dq.to(qk.dtype), dv.to(v.dtype), None, None, None, None, None


@dataclass(frozen=True)
class _Circle:
    """The chunks of one sorted round of one head, and what each of them reaches.

    Attributes:
        rows: Positions in sorted order, [n * C]; the last `n_empty` are stand-ins.
        near: Positions of the chunks as neighbours, [(n + W - 1) * C]; chunk i reaches W of them,
            from i on.
        chunk_len, n_chunks, n_before, n_window: C, n, chunks before, W.
        scale: What the weights of each chunk are multiplied by, [C, W * C], if by anything.
    """

    rows: Tensor
    near: Tensor
    n_empty: int
    chunk_len: int
    n_chunks: int
    n_before: int
    n_window: int
    causal: bool
    scale: Tensor | None

    @classmethod
    def of(
        cls,
        order: Tensor,
        window: tuple[int, int, int],
        causal: bool,
        scale: Tensor | None,
    ) -> _Circle:
        chunk_len, n_before, n_after = window
        length = order.shape[0]
        n_chunks = -(-length // chunk_len)
        n_window = n_before + n_after + 1
        if n_chunks <= n_window:  # all is within reach: one chunk, of any length
            if scale is not None:
                place = torch.arange(length, device=order.device)
                chunk, row = place // chunk_len, place % chunk_len
                slot = (chunk - chunk[:, None] + n_before) % max(1, n_chunks)
                scale = scale[row[:, None], slot * chunk_len + row]
            return cls(order, order, 0, length, min(1, length), 0, 1, causal, scale)
        n_empty = n_chunks * chunk_len - length
        rows = torch.cat([order, order.new_zeros(n_empty)]) if n_empty else order
        near = torch.cat(
            [rows[len(rows) - n_before * chunk_len :], rows, rows[: n_after * chunk_len]]
        )
        return cls(rows, near, n_empty, chunk_len, n_chunks, n_before, n_window, causal, scale)

    def groups(self) -> Iterator[tuple[int, int]]:
        """Ranges of chunks whose scores are computed at once."""
        size = max(1, _SCORES_AT_ONCE // max(1, self.chunk_len**2 * self.n_window))
        for start in range(0, self.n_chunks, size):
            yield start, min(start + size, self.n_chunks)

    def chunks(self, x: Tensor) -> Tensor:
        """Rows of x [L, K] chunk by chunk, [n, C, K]."""
        return x.index_select(0, self.rows).view(self.n_chunks, self.chunk_len, x.shape[-1])

    def windows(self, x: Tensor) -> Tensor:
        """Rows of x [L, K] in reach of each chunk, an overlapping view [n, W * C, K]."""
        size = self.chunk_len, x.shape[-1]
        near = x.index_select(0, self.near)
        return near.as_strided(
            (self.n_chunks, self.n_window * size[0], size[1]), (size[0] * size[1], size[1], 1)
        )

    def scores(self, q: Tensor, k: Tensor, start: int, end: int, times: Tensor | None) -> Tensor:
        """Scores of the chunks start … end, [end - start, C, W * C]."""
        size = self.chunk_len
        scores = torch.bmm(q[start:end], k[start:end].transpose(1, 2))
        scores.diagonal(self.n_before * size, 1, 2).sub_(SELF_PENALTY)
        if times is not None:
            own = times[start:end, :, self.n_before * size : (self.n_before + 1) * size]
            scores.masked_fill_(times[start:end] > own.transpose(1, 2), -MASK_PENALTY)
        if self.n_empty:
            for slot in range(self.n_window):
                chunk = (self.n_chunks - 1 - slot + self.n_before) % self.n_chunks
                if start <= chunk < end:
                    scores[
                        chunk - start, :, (slot + 1) * size - self.n_empty : (slot + 1) * size
                    ] = -MASK_PENALTY
        return scores

    def times(self) -> Tensor | None:
        """Positions in reach of each chunk, [n, 1, W * C], where they decide who is reachable."""
        if not self.causal:
            return None
        return self.near.to(torch.int32).as_strided(
            (self.n_chunks, 1, self.n_window * self.chunk_len), (self.chunk_len, 0, 1)
        )

    def fold(self, x: Tensor) -> Tensor:
        """Adds neighbours [(n + W - 1), C, K] up to chunks, flattened to [n * C, K]."""
        n_after = self.n_window - 1 - self.n_before
        own = x[self.n_before : self.n_before + self.n_chunks]
        if self.n_before:
            own[-self.n_before :] += x[: self.n_before]
        if n_after:
            own[:n_after] += x[-n_after:]
        return own.flatten(0, 1)


def _attend(
    circle: _Circle, q: Tensor, k: Tensor, v: Tensor, with_total: bool
) -> tuple[Tensor, Tensor]:
    """Outputs [n * C, V] and, if asked for, log-sum-exps [n * C] of one round in sorted order."""
    q, k, v = circle.chunks(q), circle.windows(k), circle.windows(v)
    times = circle.times()
    out = v.new_empty(circle.n_chunks, circle.chunk_len, v.shape[-1])
    total = v.new_empty(circle.n_chunks, circle.chunk_len)
    for start, end in circle.groups():
        scores = circle.scores(q, k, start, end, times)
        if with_total:
            total[start:end] = scores.logsumexp(dim=-1)
        weights = scores.softmax(dim=-1)
        if circle.scale is not None:
            weights.mul_(circle.scale)
        torch.bmm(weights, v[start:end], out=out[start:end])
    return out.flatten(0, 1), total.flatten()


def _attend_backward(
    circle: _Circle, q: Tensor, k: Tensor, v: Tensor, grad: Tensor, grad_dot_out: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of queries, keys and values of one round in sorted order, [n * C, …] each."""
    q, k, v = circle.chunks(q), circle.windows(k), circle.windows(v)
    g, g_dot_out = circle.chunks(grad), circle.chunks(grad_dot_out[:, None])
    if circle.n_empty:
        g[-1, circle.chunk_len - circle.n_empty :] = 0.0
        g_dot_out[-1, circle.chunk_len - circle.n_empty :] = 0.0
    times = circle.times()
    size, n_window = circle.chunk_len, circle.n_window
    dq = torch.empty_like(q)
    dk = k.new_zeros(circle.n_chunks + n_window - 1, size, k.shape[-1])
    dv = v.new_zeros(circle.n_chunks + n_window - 1, size, v.shape[-1])
    for start, end in circle.groups():
        weights = circle.scores(q, k, start, end, times).softmax(dim=-1)
        scaled = weights if circle.scale is None else weights * circle.scale
        dv_near = torch.bmm(scaled.transpose(1, 2), g[start:end])
        dscores = torch.bmm(g[start:end], v[start:end].transpose(1, 2))
        if circle.scale is not None:
            dscores.mul_(circle.scale)
        dscores.sub_(g_dot_out[start:end]).mul_(weights)
        torch.bmm(dscores, k[start:end], out=dq[start:end])
        dk_near = torch.bmm(dscores.transpose(1, 2), q[start:end])
        for slot in range(n_window):
            dk[start + slot : end + slot] += dk_near[:, slot * size : (slot + 1) * size]
            dv[start + slot : end + slot] += dv_near[:, slot * size : (slot + 1) * size]
    return dq.flatten(0, 1), circle.fold(dk), circle.fold(dv)


def _inverse(order: Tensor) -> Tensor:
    """The place in sorted order of each position, [B, H, R, L]."""
    places = torch.arange(order.shape[-1], device=order.device).expand_as(order)
    return torch.empty_like(order).scatter_(-1, order, places)


def _unsort(x: Tensor, inverse: Tensor, length: int) -> Tensor:
    """Puts the first `length` rows of x back to their positions [L]; the others become zero."""
    n_rows = inverse.shape[0]
    if length < n_rows:
        x = torch.cat([x[:length], x.new_zeros(n_rows - length, *x.shape[1:])])
    return x.index_select(0, inverse)
