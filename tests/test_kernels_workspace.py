from __future__ import annotations

import pytest
import torch
from interpreted import in_interpreter
from workspace_case import CASES, measured

from kernels.dispatch import backends
from kernels.expert_feed_forward.workspace import expert_feed_forward_bytes
from kernels.sparse_feed_forward.workspace import sparse_feed_forward_bytes
from kernels.vocabulary_loss.workspace import vocabulary_loss_bytes
from kernels.workspace import OPS, workspace_bytes

CPU = torch.device("cpu")
BACKENDS = [(op, backend) for op in OPS for backend in backends(op)]


@pytest.mark.parametrize(("op", "backend"), BACKENDS, ids=lambda item: item)
def test_no_backend_takes_more_than_it_states(op: str, backend: str) -> None:
    if backend == "triton":
        forward, backward = in_interpreter(measured, op, backend)
    elif backend in backends(op, CPU):
        forward, backward = measured(op, backend)
    else:
        pytest.skip(f"backend {backend} of {op} does not run here")
    _, stated, sizes = CASES[op]
    if (op, backend) != ("hash_buckets", "cpp"):  # which works in its threads' own small buffers
        assert forward + backward > 0
    assert forward <= stated(backend, **sizes)
    training = {} if op in ("vocabulary_loss", "hash_buckets") else {"training": True}
    assert backward <= stated(backend, **sizes, **training)


def test_the_backend_is_that_of_the_device() -> None:
    for op in OPS:
        _, stated, sizes = CASES[op]
        assert workspace_bytes(op, CPU, **sizes) == stated(backends(op, CPU)[0], **sizes)


def test_workspaces_of_a_gpu_at_real_sizes() -> None:
    """Sums that are known by hand."""
    n_bytes = vocabulary_loss_bytes(
        "triton", n_targets=65536, d_model=1024, vocab_size=32000, n_modules=4, itemsize=2
    )
    assert 128 << 20 < n_bytes < 512 << 20
    size = {"n_tokens": 1000, "n_units": 3072, "d_model": 768, "itemsize": 2}
    assert expert_feed_forward_bytes("triton", **size) == 1000 * 3072 * 2
    size = {"n_tokens": 1000, "n_units": 6144, "n_blocks": 96, "d_model": 1024, "itemsize": 2}
    assert sparse_feed_forward_bytes("triton", **size) == 1000 * (6144 * 2 + 96 * 6)
