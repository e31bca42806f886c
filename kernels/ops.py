"""The only door to the kernels: each operation runs on the backend that the table picks."""

from __future__ import annotations

from torch import Tensor

from kernels.convolutional_qkv import reference as qkv_reference
from kernels.convolutional_qkv import triton as qkv_triton
from kernels.convolutional_qkv.reference import module_convolution
from kernels.dispatch import needs_cpu, register, resolve
from kernels.expert_feed_forward import reference as expert_reference
from kernels.expert_feed_forward import triton as expert_triton
from kernels.lsh_attention import cpu as lsh_cpu
from kernels.lsh_attention import native as lsh_native
from kernels.lsh_attention import reference as lsh_reference
from kernels.lsh_attention import triton as lsh_triton
from kernels.lsh_attention.reference import SELF_PENALTY, unit_length
from kernels.multiplicative.reference import multiplicative_dense
from kernels.sequence import needs_extension
from kernels.sparse_feed_forward import cpu as feed_forward_cpu
from kernels.sparse_feed_forward import native as feed_forward_native
from kernels.sparse_feed_forward import reference as feed_forward_reference
from kernels.sparse_feed_forward import triton as feed_forward_triton
from kernels.sparse_feed_forward.reference import Controller, Selection, draw_choice
from kernels.sru_scan import cpu as sru_cpu
from kernels.sru_scan import native as sru_native
from kernels.sru_scan import reference as sru_reference
from kernels.sru_scan import triton as sru_triton
from kernels.triton_support import needs_triton
from kernels.vocabulary_loss import reference as vocabulary_loss_reference
from kernels.vocabulary_loss import triton as vocabulary_loss_triton

__all__ = [
    "SELF_PENALTY",
    "Controller",
    "Selection",
    "convolutional_qkv",
    "draw_choice",
    "expert_feed_forward",
    "hash_buckets",
    "lsh_attention",
    "module_convolution",
    "multiplicative_dense",
    "sparse_feed_forward",
    "sparse_feed_forward_inference",
    "sparse_feed_forward_step",
    "sru_scan",
    "unit_length",
    "vocabulary_loss",
]

register("hash_buckets", "reference", lsh_reference.hash_buckets)
register("hash_buckets", "cpp", lsh_native.hash_buckets, needs_extension, "cpu")
register("lsh_attention", "reference", lsh_reference.lsh_attention)
register("lsh_attention", "cpu", lsh_cpu.lsh_attention, needs_cpu)
register("lsh_attention", "cpp", lsh_native.lsh_attention, needs_extension, "cpu")
register("lsh_attention", "triton", lsh_triton.lsh_attention, needs_triton, "cuda")
register("sru_scan", "reference", sru_reference.sru_scan)
register("sru_scan", "cpu", sru_cpu.sru_scan, needs_cpu)
register("sru_scan", "cpp", sru_native.sru_scan, needs_extension, "cpu")
register("sru_scan", "triton", sru_triton.sru_scan, needs_triton, "cuda")
register("sparse_feed_forward", "reference", feed_forward_reference.sparse_feed_forward)
register("sparse_feed_forward", "cpu", feed_forward_cpu.sparse_feed_forward, needs_cpu)
register(
    "sparse_feed_forward", "triton", feed_forward_triton.sparse_feed_forward, needs_triton, "cuda"
)
register(
    "sparse_feed_forward_inference",
    "reference",
    feed_forward_reference.sparse_feed_forward_inference,
)
register(
    "sparse_feed_forward_inference",
    "cpp",
    feed_forward_native.sparse_feed_forward_inference,
    needs_extension,
    "cpu",
)
register(
    "sparse_feed_forward_inference",
    "triton",
    feed_forward_triton.sparse_feed_forward_inference,
    needs_triton,
    "cuda",
)
register("sparse_feed_forward_step", "reference", feed_forward_reference.sparse_feed_forward_step)
register(
    "sparse_feed_forward_step",
    "triton",
    feed_forward_triton.sparse_feed_forward_step,
    needs_triton,
    "cuda",
)
register("expert_feed_forward", "reference", expert_reference.expert_feed_forward)
register("expert_feed_forward", "triton", expert_triton.expert_feed_forward, needs_triton, "cuda")
register("convolutional_qkv", "reference", qkv_reference.convolutional_qkv)
register("convolutional_qkv", "triton", qkv_triton.convolutional_qkv, needs_triton, "cuda")
register("vocabulary_loss", "reference", vocabulary_loss_reference.vocabulary_loss)
register("vocabulary_loss", "triton", vocabulary_loss_triton.vocabulary_loss, needs_triton, "cuda")


def hash_buckets(
    q: Tensor,
    rotations: Tensor,
    n_buckets: tuple[int, ...],
    mask: Tensor | None = None,
    *,
    backend: str | None = None,
) -> Tensor:
    """Hashes q [B, H, L, K] to buckets [B, H, R, L], int64.

    See `kernels.lsh_attention.reference.hash_buckets`; `backend` forces one.
    """
    return resolve("hash_buckets", q.device, backend)(q, rotations, n_buckets, mask)


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
    backend: str | None = None,
) -> Tensor:
    """Attends within buckets: qk [B, H, L, K], v [B, H, L, V] → [B, H, L, V].

    See `kernels.lsh_attention.reference.lsh_attention`, the one backend that knows `as_published`;
    `backend` forces one.

    Raises:
        ValueError: if another backend is forced with `as_published`.
    """
    options = {
        "chunk_len": chunk_len,
        "n_chunks_before": n_chunks_before,
        "n_chunks_after": n_chunks_after,
        "causal": causal,
        "weight_scale": weight_scale,
    }
    if as_published:
        if backend not in (None, "reference"):
            raise ValueError(f"backend ({backend}) must be reference with as_published")
        return lsh_reference.lsh_attention(qk, v, buckets, mask, as_published=True, **options)
    return resolve("lsh_attention", qk.device, backend)(qk, v, buckets, mask, **options)


def sru_scan(
    x: Tensor, f: Tensor, c0: Tensor | None = None, *, backend: str | None = None
) -> tuple[Tensor, Tensor]:
    """Runs c_t = f_t * c_{t-1} + (1 - f_t) * x_t over [B, L, D].

    See `kernels.sru_scan.reference.sru_scan`; `backend` forces one.
    """
    return resolve("sru_scan", x.device, backend)(x, f, c0)


def sparse_feed_forward(
    x: Tensor,
    logits: Tensor,
    w1: Tensor,
    w2: Tensor,
    b2: Tensor,
    *,
    selection: Selection,
    choice: Tensor | None = None,
    multiply_by_controller: bool = False,
    backend: str | None = None,
) -> Tensor:
    """Applies one unit in each block to x [T, D], computing all of them.

    See `kernels.sparse_feed_forward.reference.sparse_feed_forward`; `backend` forces one.
    """
    return resolve("sparse_feed_forward", x.device, backend)(
        x,
        logits,
        w1,
        w2,
        b2,
        selection=selection,
        choice=choice,
        multiply_by_controller=multiply_by_controller,
    )


def sparse_feed_forward_inference(
    x: Tensor,
    controller: Controller,
    w1: Tensor,
    w2: Tensor,
    b2: Tensor,
    *,
    block_size: int,
    multiply_by_controller: bool = False,
    backend: str | None = None,
) -> Tensor:
    """Chooses one unit in each block and applies it to x [T, D], for evaluation alone.

    See `kernels.sparse_feed_forward.reference.sparse_feed_forward_inference`; `backend` forces one.
    """
    return resolve("sparse_feed_forward_inference", x.device, backend)(
        x,
        controller,
        w1,
        w2,
        b2,
        block_size=block_size,
        multiply_by_controller=multiply_by_controller,
    )


def sparse_feed_forward_step(
    x: Tensor,
    logits: Tensor,
    w1: Tensor,
    w2: Tensor,
    b2: Tensor,
    *,
    multiply_by_controller: bool = False,
    backend: str | None = None,
) -> Tensor:
    """Applies one unit in each block to x [T, D], reading only the rows of those.

    See `kernels.sparse_feed_forward.reference.sparse_feed_forward_step`; `backend` forces one.
    """
    return resolve("sparse_feed_forward_step", x.device, backend)(
        x, logits, w1, w2, b2, multiply_by_controller=multiply_by_controller
    )


def expert_feed_forward(
    tokens: Tensor,
    n_tokens: Tensor,
    w1: Tensor,
    b1: Tensor,
    w2: Tensor,
    b2: Tensor,
    *,
    kept: Tensor | None = None,
    dropout: float = 0.0,
    backend: str | None = None,
) -> Tensor:
    """Maps tokens [N, D], sorted by expert, by the dense layers of their experts, [N, D].

    See `kernels.expert_feed_forward.reference.expert_feed_forward`; `backend` forces one.
    """
    return resolve("expert_feed_forward", tokens.device, backend)(
        tokens, n_tokens, w1, b1, w2, b2, kept=kept, dropout=dropout
    )


def vocabulary_loss(
    states: Tensor,
    targets: Tensor,
    projection: Tensor,
    gate: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    chunk_len: int | None = None,
    backend: str | None = None,
) -> Tensor:
    """Returns the cross-entropy of targets [T] after a loss layer on states [T, D], [T].

    See `kernels.vocabulary_loss.reference.vocabulary_loss`; `backend` forces one.
    """
    return resolve("vocabulary_loss", states.device, backend)(
        states, targets, projection, gate, bias, chunk_len=chunk_len
    )


def convolutional_qkv(
    x: Tensor,
    projection: Tensor,
    gate: Tensor,
    bias: Tensor | None,
    w_q: Tensor,
    b_q: Tensor,
    w_v: Tensor,
    b_v: Tensor,
    w_k: Tensor | None = None,
    b_k: Tensor | None = None,
    *,
    backend: str | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Projects x [B, L, D] to queries, keys and values of that shape.

    See `kernels.convolutional_qkv.reference.convolutional_qkv`; `backend` forces one.
    """
    return resolve("convolutional_qkv", x.device, backend)(
        x, projection, gate, bias, w_q, b_q, w_v, b_v, w_k, b_k
    )
