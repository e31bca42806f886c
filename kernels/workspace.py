"""How many bytes operations take on a device beside what they are given, return and keep.

Each function asks the package of its operation about the backend that the automatic choice takes;
see there for the arguments.
"""

from __future__ import annotations

from typing import Any

import torch

from kernels import ops
from kernels.convolutional_qkv.workspace import convolutional_qkv_bytes
from kernels.dispatch import backends
from kernels.expert_feed_forward.workspace import expert_feed_forward_bytes
from kernels.lsh_attention.workspace import hash_buckets_bytes, lsh_attention_bytes
from kernels.sparse_feed_forward.workspace import sparse_feed_forward_bytes
from kernels.sru_scan.workspace import sru_scan_bytes
from kernels.vocabulary_loss.workspace import vocabulary_loss_bytes

_STATED = {
    "convolutional_qkv": convolutional_qkv_bytes,
    "expert_feed_forward": expert_feed_forward_bytes,
    "hash_buckets": hash_buckets_bytes,
    "lsh_attention": lsh_attention_bytes,
    "sparse_feed_forward": sparse_feed_forward_bytes,
    "sru_scan": sru_scan_bytes,
    "vocabulary_loss": vocabulary_loss_bytes,
}

OPS = tuple(_STATED)
"""Operations whose workspace is stated, all of them names in `kernels.ops`."""


def workspace_bytes(op: str, device: torch.device, **sizes: Any) -> int:
    """Returns the workspace of an operation, in bytes.

    Args:
        op: One of `OPS`.
        device: Where it runs.
        sizes: Of the operation, as `<op>_bytes` of its package takes them.
    """
    assert hasattr(ops, op)
    return _STATED[op](backends(op, device)[0], **sizes)
