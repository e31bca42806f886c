"""LSH attention and its hash in plain PyTorch: the definition of correct."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

SELF_PENALTY = 1e5  # subtracted where a query meets its own key: used only if it has no other
MASK_PENALTY = 1e9  # subtracted where a key is out of reach
NORM_EPSILON = 1e-6
HASHED_AT_ONCE = 4096  # positions; bounds the memory of products with all directions


def hash_buckets(
    q: Tensor, rotations: Tensor, n_buckets: tuple[int, ...], mask: Tensor | None = None
) -> Tensor:
    """Hashes vectors to the nearest of random directions, in float32 whatever the input's dtype.

    Args:
        q: Vectors, [B, H, L, K].
        rotations: Random directions, [K, R, W] or [H, K, R, W], with W = sum(n_buckets) / 2.
        n_buckets: Even factors of the number of buckets; the first one is the low digit.
        mask: [B, L], True for real tokens; all are real if None.
    Returns:
        Buckets, [B, H, R, L], int64: argmax of [qR, -qR] for each factor; padding is in a bucket
        of its own, prod(n_buckets).
    Raises:
        ValueError: if a factor is odd, or the factors do not fill the rotations.
    Source: Kitaev et al. 2020, arXiv:2001.04451, section 2.
    """
    check_rotations(rotations, n_buckets)
    rotations = rotations.float().expand(q.shape[1], *rotations.shape[-3:])
    parts = []
    for q_part in q.split(HASHED_AT_ONCE, dim=2):
        with torch.autocast(q.device.type, enabled=False):
            rotated = torch.einsum("bhlk,hkrw->bhrlw", q_part.float(), rotations)
        parts.append(_nearest(rotated, n_buckets))
    buckets = torch.cat(parts, dim=-1)
    if mask is not None:
        buckets.masked_fill_(~mask[:, None, None, :], math.prod(n_buckets))
    return buckets


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
    as_published: bool = False,
) -> Tensor:
    """Attends from each query to the keys in and around its chunk of the bucket-sorted sequence.

    Tokens are sorted by (bucket, time) and cut into chunks; chunk i of a round attends to chunks
    i - n_chunks_before … i + n_chunks_after of that round, counted in a circle. Queries and keys
    are the same vectors, keys scaled to unit length. A token attends to itself only if nothing
    else is in reach. Rounds are weighted by the softmax of their log-sum-exp.

    Args:
        qk: Queries, which are keys too, [B, H, L, K].
        v: Values, [B, H, L, V].
        buckets: [B, H, R, L], int64.
        mask: [B, L], True for real tokens; all are real if None.
        chunk_len: Length of a chunk; L need not be a multiple of it.
        n_chunks_before: Chunks before its own that a query attends to.
        n_chunks_after: Chunks after it.
        causal: Whether keys later in time are out of reach.
        weight_scale: What the weights of any chunk are multiplied by, zero where they are dropped,
            [B, H, C, W * C] for chunks of C that reach W of them, by place in the chunk and in
            those that it reaches; None for ones. The weights of rounds stay as they are.
        as_published: Behave as the published code, where it differs (see below).
    Returns:
        [B, H, L, V], dtype of v; zero at padded positions.
    Raises:
        ValueError: if shapes or sizes do not fit.
    Source: Kitaev et al. 2020, arXiv:2001.04451, section 2; google/trax LSHSelfAttention.
    Differs: in the published code chunks run on from round to round, a key counts twice where the
        circle of chunks is shorter than the neighbourhood, padding takes part in the circle and
        gets outputs, and R * L must be a multiple of chunk_len. `as_published` restores all that.
        Here an example's outputs depend neither on its padding nor on the rest of the batch. Half
        precision is computed in float32.
    """
    window = (chunk_len, n_chunks_before, n_chunks_after)
    check_shapes(qk, v, buckets, mask, window, weight_scale)
    batch, _, length, _ = qk.shape
    if mask is None:
        mask = torch.ones(batch, length, dtype=torch.bool, device=qk.device)
    with torch.autocast(qk.device.type, enabled=False):
        out = _attend(
            at_least_float32(qk),
            at_least_float32(v),
            buckets,
            mask,
            window,
            causal,
            weight_scale,
            as_published,
        )
    return out.to(v.dtype)


def _attend(
    qk: Tensor,
    v: Tensor,
    buckets: Tensor,
    mask: Tensor,
    window: tuple[int, int, int],
    causal: bool,
    weight_scale: Tensor | None,
    as_published: bool,
) -> Tensor:
    chunk_len, n_chunks_before, n_chunks_after = window
    batch, n_heads, n_rounds, length = buckets.shape
    order = sort_by_bucket(buckets, mask)  # [B, H, R, L]
    lengths = mask.sum(dim=-1)
    if as_published:
        if n_rounds * length % chunk_len:
            raise ValueError(
                f"rounds * length ({n_rounds} * {length}) must be divisible by chunk_len"
                f" ({chunk_len}) with as_published"
            )
        order = order.flatten(2)[:, :, None]  # [B, H, 1, R * L]
        lengths = torch.full_like(lengths, n_rounds * length)
    n_chunks = -(-order.shape[-1] // chunk_len)
    # Row L is a stand-in that is never real: it fills the last chunk.
    order = F.pad(order, (0, n_chunks * chunk_len - order.shape[-1]), value=length)
    real = F.pad(mask, (0, 1))
    q = _take(F.pad(qk, (0, 0, 0, 1)), order, chunk_len)  # [B, H, R, n, C, K]
    k = _take(F.pad(unit_length(qk), (0, 0, 0, 1)), order, chunk_len)
    v_sorted = _take(F.pad(v, (0, 0, 0, 1)), order, chunk_len)
    time = order.unflatten(-1, (n_chunks, chunk_len))  # [B, H, R, n, C]
    real_sorted = real[:, None, None].expand(*order.shape[:3], -1).gather(-1, order)
    real_sorted = real_sorted.unflatten(-1, (n_chunks, chunk_len))

    n_window = n_chunks_before + n_chunks_after + 1
    circle = (-(-lengths // chunk_len)).clamp(min=1)[:, None, None]  # [B, 1, 1]
    slot = torch.arange(n_window, device=qk.device)
    chunk = torch.arange(n_chunks, device=qk.device)[:, None]
    neighbours = (chunk + slot - n_chunks_before) % circle  # [B, n, W]
    first = (slot < circle) | as_published  # a shorter circle would meet a chunk again
    k, v_near = _neighbourhood(k, neighbours), _neighbourhood(v_sorted, neighbours)
    time_k = _neighbourhood(time[..., None], neighbours)[..., 0]  # [B, H, R, n, W * C]
    reachable = _neighbourhood(real_sorted[..., None], neighbours)[..., 0]
    reachable = reachable & first.repeat_interleave(chunk_len, dim=-1)[:, None, None]

    scores = q @ k.transpose(-1, -2)  # [B, H, R, n, C, W * C]
    scores = scores - SELF_PENALTY * (time[..., :, None] == time_k[..., None, :])
    blocked = ~reachable[..., None, :]
    if causal:
        blocked = blocked | (time[..., :, None] < time_k[..., None, :])
    scores = scores - MASK_PENALTY * blocked
    weights = scores.softmax(dim=-1)
    if weight_scale is not None:
        weights = weights * weight_scale[:, :, None, None]
    out = (weights @ v_near).flatten(3, 4)
    weight = scores.logsumexp(dim=-1).flatten(3, 4)  # [B, H, R, n * C]
    if as_published:
        order, weight = (item.view(batch, n_heads, n_rounds, length) for item in (order, weight))
        out = out.view(batch, n_heads, n_rounds, length, -1)
    out = _unsort(out, order, length)
    weight = _unsort(weight[..., None], order, length).softmax(dim=2)
    out = (out * weight).sum(dim=2)
    if not as_published:
        out = out.masked_fill(~mask[:, None, :, None], 0.0)
    return out


def check_rotations(rotations: Tensor, n_buckets: tuple[int, ...]) -> None:
    """Raises a ValueError if the arguments of `hash_buckets` do not fit one another."""
    if any(factor % 2 for factor in n_buckets):
        raise ValueError(f"n_buckets {n_buckets} must be even")
    if sum(n_buckets) != 2 * rotations.shape[-1]:
        raise ValueError(
            f"n_buckets {n_buckets} need {sum(n_buckets) // 2} rotations, got {rotations.shape[-1]}"
        )


def check_shapes(
    qk: Tensor,
    v: Tensor,
    buckets: Tensor,
    mask: Tensor | None,
    window: tuple[int, int, int],
    weight_scale: Tensor | None,
) -> None:
    """Raises a ValueError if the arguments of `lsh_attention` do not fit one another.

    `window` is the length of a chunk and the numbers of chunks before and after it.
    """
    chunk_len, n_chunks_before, n_chunks_after = window
    if qk.shape[:3] != v.shape[:3]:
        raise ValueError(f"qk {tuple(qk.shape)} and v {tuple(v.shape)} differ in [B, H, L]")
    batch, n_heads, length, _ = qk.shape
    if buckets.dim() != 4 or (*buckets.shape[:2], buckets.shape[3]) != (batch, n_heads, length):
        raise ValueError(
            f"buckets {tuple(buckets.shape)} must be [{batch}, {n_heads}, R, {length}]"
        )
    if mask is not None and mask.shape != (batch, length):
        raise ValueError(f"mask {tuple(mask.shape)} must be [{batch}, {length}]")
    if chunk_len < 1 or n_chunks_before < 0 or n_chunks_after < 0:
        raise ValueError(
            f"chunk_len ({chunk_len}) must be positive, n_chunks_before ({n_chunks_before}) and"
            f" n_chunks_after ({n_chunks_after}) not negative"
        )
    scaled = (batch, n_heads, chunk_len, chunk_len * (n_chunks_before + n_chunks_after + 1))
    if weight_scale is not None and weight_scale.shape != scaled:
        raise ValueError(f"weight_scale {tuple(weight_scale.shape)} must be {list(scaled)}")


def at_least_float32(x: Tensor) -> Tensor:
    """Returns x in float32 if it is in half precision, else x."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def unit_length(qk: Tensor) -> Tensor:
    """Returns keys of length one (nearly so where the vector is tiny), shape of qk."""
    return (
        qk
        * (qk.square().mean(dim=-1, keepdim=True) + NORM_EPSILON).rsqrt()
        * (qk.shape[-1] ** -0.5)
    )


def sort_by_bucket(buckets: Tensor, mask: Tensor) -> Tensor:
    """Returns the positions in the order of (bucket, time), padding last, [B, H, R, L], int64."""
    last = torch.iinfo(buckets.dtype).max
    return buckets.masked_fill(~mask[:, None, None], last).argsort(dim=-1, stable=True)


def _nearest(rotated: Tensor, n_buckets: tuple[int, ...]) -> Tensor:
    """The direction nearest to each vector, from its products [..., W] with half of them."""
    buckets = torch.zeros(rotated.shape[:-1], dtype=torch.int64, device=rotated.device)
    scale = 1
    for factor, part in zip(
        n_buckets, rotated.split([factor // 2 for factor in n_buckets], dim=-1), strict=True
    ):
        buckets += scale * torch.cat([part, -part], dim=-1).argmax(dim=-1)
        scale *= factor
    return buckets


def _take(x: Tensor, order: Tensor, chunk_len: int) -> Tensor:
    """Rows of x [B, H, L, K] in an order [B, H, R, n * C], cut to [B, H, R, n, C, K]."""
    index = order[..., None].expand(*order.shape, x.shape[-1])
    taken = x[:, :, None].expand(-1, -1, order.shape[2], -1, -1).gather(3, index)
    return taken.unflatten(3, (-1, chunk_len))


def _neighbourhood(x: Tensor, neighbours: Tensor) -> Tensor:
    """Joins the neighbours [B, n, W] of each chunk of x [B, H, R, n, C, K] on the fifth axis."""
    batch = torch.arange(x.shape[0], device=x.device)[:, None, None]
    near = x.movedim(3, 1)[batch, neighbours]  # [B, n, W, H, R, C, K]
    return near.permute(0, 3, 4, 1, 2, 5, 6).flatten(4, 5)


def _unsort(x: Tensor, order: Tensor, length: int) -> Tensor:
    """Puts rows of x [B, H, R, n * C, K] back to their times, [B, H, R, L, K]."""
    rows = x.new_zeros(*x.shape[:3], length + 1, x.shape[-1])
    index = order[..., None].expand(*order.shape, x.shape[-1])
    return rows.scatter(3, index, x)[..., :length, :]
