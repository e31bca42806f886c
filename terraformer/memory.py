"""What fits a memory budget, decided before the work starts."""

from __future__ import annotations

from dataclasses import dataclass

import psutil

from terraformer.config import TerraformerConfig
from terraformer.errors import MemoryBudgetError
from terraformer.feed_forward import DenseFF, SparseFF
from terraformer.model import Terraformer

_FLOAT = 4  # bytes
_INDEX = 8  # bytes
# Token states alive at the attention's peak: two streams, the normed input, qk, v, keys, output,
# and the sorted copies of queries, keys and values.
_STATES_IN_ATTENTION = 11
_INDICES_IN_ATTENTION = 5  # a head and round: buckets, sort keys, order, its inverse, chunk rows
_STATES_IN_FEED_FORWARD = 5  # two streams, the normed input, the output and its chunks joined
_UNITS_IN_FEED_FORWARD = 4  # times d_ff: logits, units, mask, kept units
_STATES_OF_SENTENCES = 16  # times d_model, all through the sentence encoder and decoder
_WORKSPACE = 48 << 20  # allocator slack, graph rows of the features, small tensors
_CHUNK_LENGTHS = (0, 16384, 4096, 1024)  # tokens of the feed-forward at once; 0 is all


@dataclass(frozen=True)
class MemoryPlan:
    """How to encode a document within a budget.

    Attributes:
        feed_forward_chunk_len: Tokens the sparse feed-forward computes at once, 0 for all.
        peak_bytes: Estimate of the activations' peak.
    """

    feed_forward_chunk_len: int
    peak_bytes: int


def estimate_bytes(
    config: TerraformerConfig, n_tokens: int, n_sentences: int, feed_forward_chunk_len: int
) -> int:
    """Returns the estimated peak of the activations for one document, in bytes.

    Args:
        config: Of the model.
        n_tokens: Of the document.
        n_sentences: Of the document.
        feed_forward_chunk_len: Tokens the sparse feed-forward computes at once, 0 for all.
    """
    stack = config.token_encoder
    rounds = max(each.n_heads * getattr(each, "n_hashes", 1) for each in stack.attentions)
    d_ff = max(each.d_ff for each in stack.feed_forwards)
    attention = n_tokens * (
        _STATES_IN_ATTENTION * config.d_token * _FLOAT + _INDICES_IN_ATTENTION * rounds * _INDEX
    )
    in_chunk = min(n_tokens, feed_forward_chunk_len or n_tokens)
    feed_forward = _FLOAT * (
        n_tokens * _STATES_IN_FEED_FORWARD * config.d_token
        + in_chunk * _UNITS_IN_FEED_FORWARD * d_ff
    )
    sentences = n_sentences * _FLOAT * (_STATES_OF_SENTENCES * config.d_model + config.n_features)
    return _WORKSPACE + max(attention, feed_forward) + sentences


def plan_memory(
    config: TerraformerConfig,
    n_tokens: int,
    n_sentences: int,
    budget: int | None,
    resident: int | None = None,
) -> MemoryPlan:
    """Chooses the largest chunks with which a document fits the budget.

    Args:
        config: Of the model.
        n_tokens: Of the document.
        n_sentences: Of the document.
        budget: Bytes for the whole process; None sets no limit.
        resident: Bytes that the process holds already; None asks the system.
    Raises:
        MemoryBudgetError: if even the smallest chunks need more, saying how much.
    """
    plans = [
        MemoryPlan(chunk_len, estimate_bytes(config, n_tokens, n_sentences, chunk_len))
        for chunk_len in _CHUNK_LENGTHS
    ]
    if budget is None:
        return plans[1]
    if resident is None:
        resident = psutil.Process().memory_info().rss
    for plan in plans:
        if resident + plan.peak_bytes <= budget:
            return plan
    least = resident + plans[-1].peak_bytes
    raise MemoryBudgetError(
        f"{n_tokens:,} tokens need {_readable(least)}, the budget is {_readable(budget)}: "
        f"give --memory {-(-least // 2**20)}MiB or more, or summarize the document in parts"
    )


def apply_plan(plan: MemoryPlan, model: Terraformer) -> None:
    """Makes the model's dense and sparse feed-forward layers work in the plan's chunks."""
    for module in model.modules():
        if isinstance(module, (DenseFF, SparseFF)):
            module.chunk_len = plan.feed_forward_chunk_len


def _readable(n_bytes: int) -> str:
    return f"{n_bytes / 2**20:,.0f} MiB"
