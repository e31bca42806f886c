"""Launch settings of the Triton kernels; `python -m eval.kernels --tune FILE` writes this anew."""

from __future__ import annotations

ORIGIN = "chosen by reasoning for an H100 (registers and shared memory as compiled), not measured"
"""Where the settings come from."""

TABLE: dict[str, dict[tuple[int, int], tuple[int, int, int, int]]] = {
    "lsh_attention_fwd": {
        (2, 64): (128, 64, 8, 3),
        (2, 128): (64, 64, 4, 2),
        (2, 256): (64, 32, 8, 2),
        (4, 64): (32, 32, 4, 2),
        (4, 128): (32, 32, 8, 2),
        (4, 256): (16, 32, 8, 2),
        (8, 256): (16, 16, 4, 1),
    },
    "lsh_attention_bwd": {
        (2, 64): (128, 64, 8, 2),
        (2, 128): (64, 32, 8, 2),
        (2, 256): (32, 32, 8, 2),
        (4, 64): (32, 32, 4, 2),
        (4, 256): (16, 32, 8, 2),
        (8, 256): (16, 16, 4, 1),
    },
    "sru_scan": {
        (2, 1024): (8, 128, 1, 1),
        (4, 1024): (8, 128, 1, 1),
        (8, 1024): (8, 64, 1, 1),
    },
    "sparse_feed_forward": {
        (2, 64): (64, 64, 4, 1),
        (2, 256): (16, 256, 4, 1),
        (4, 64): (64, 64, 4, 1),
        (4, 256): (16, 256, 4, 1),
        (8, 256): (16, 256, 4, 1),
    },
    "sparse_feed_forward_units": {
        (2, 1024): (4, 1024, 4, 1),
        (4, 1024): (4, 512, 4, 1),
        (8, 1024): (4, 256, 4, 1),
    },
    "sparse_feed_forward_out": {
        (2, 1024): (128, 32, 4, 1),
        (4, 1024): (128, 32, 4, 1),
        (8, 1024): (64, 32, 4, 1),
    },
}
"""By kernel, then (bytes of an element, widest row): rows and columns of a block, warps, stages."""
