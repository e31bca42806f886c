"""What fits a memory budget, decided before the work starts, in main memory or on a GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psutil
import torch
from torch import nn

from terraformer.config import EncoderDecoderConfig, TerraformerConfig
from terraformer.errors import MemoryBudgetError
from terraformer.feed_forward import DenseFF, SparseFF
from terraformer.stack_memory import FLOAT, Work, stack_bytes

_CPU = torch.device("cpu")
_STATES_OF_SENTENCES = 16  # times d_model, all through the sentence encoder and decoder
_STREAMS = 3  # the encoder's two, and their mean
_SCORES_IN_COPYING = 12  # a token of the source: scores, weights, ids and their copies
_COPIES_OF_CACHE = 2  # the model's own and the decoding step's, while one is made of the other
_COPIES_OF_OWN = {"cpu": 2, "cuda": 3}  # where hashes change, a step is made of a copy of another
_SLACK = {"cpu": 48 << 20, "cuda": 160 << 20}  # of allocators and libraries; small tensors
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
    config: TerraformerConfig,
    n_tokens: int,
    n_sentences: int,
    feed_forward_chunk_len: int,
    device: torch.device = _CPU,
) -> int:
    """Returns the estimated peak of activations and workspaces for one document, in bytes.

    Args:
        config: Of the model.
        n_tokens: Of the document.
        n_sentences: Of the document.
        feed_forward_chunk_len: Tokens the sparse feed-forward computes at once, 0 for all.
        device: Where the model is.
    """
    work = Work(config.d_token, n_tokens, feed_forward_chunk_len, device)
    sentences = n_sentences * FLOAT * (_STATES_OF_SENTENCES * config.d_model + config.n_features)
    return _SLACK[_kind(device)] + stack_bytes(config.token_encoder, work) + sentences


def estimate_writing_bytes(
    config: EncoderDecoderConfig,
    n_source: int,
    n_target: int,
    feed_forward_chunk_len: int,
    device: torch.device = _CPU,
) -> int:
    """Returns the estimated peak of reading a source and writing a summary, in bytes.

    Args:
        config: Of the model.
        n_source: Tokens of the source.
        n_target: Most tokens of the summary, over all texts of a beam.
        feed_forward_chunk_len: Tokens that feed-forward layers compute at once, 0 for all.
        device: Where the model is.
    """
    decoder, d_model = config.decoder, config.d_model
    work = Work(d_model, n_source, feed_forward_chunk_len, device)
    encoding = stack_bytes(config.encoder, work)
    n_own = decoder.n_layers * decoder.n_attention * n_target
    if decoder.cross_attention is None:  # the source goes through the decoder too
        n_own += decoder.n_layers * decoder.n_attention * n_source
        encoding = max(encoding, stack_bytes(decoder, work))
        n_read = 0
    else:
        n_read = decoder.n_layers * n_source
    n_kept = _COPIES_OF_OWN[_kind(device)] * n_own + _COPIES_OF_CACHE * n_read
    caches = 2 * n_kept * d_model * FLOAT  # keys and values
    copied = 0
    if config.copy is not None:
        copied = n_source * (config.copy.d_key + _SCORES_IN_COPYING) * FLOAT
    states = _STREAMS * n_source * d_model * FLOAT
    # A decoding step on the CPU has its weights packed once more.
    weights = _decoder_bytes(config) if device.type == "cpu" else 0
    return _SLACK[_kind(device)] + max(encoding, caches) + states + copied + weights


def _decoder_bytes(config: EncoderDecoderConfig) -> int:
    """Bytes of the weights that a decoding step reads, from above."""
    d_model, decoder = config.d_model, config.decoder
    layer = 4 * d_model**2 * (decoder.n_attention + (decoder.cross_attention is not None))
    experts = [getattr(each, "n_experts", 1) for each in decoder.feed_forwards]
    units = [each.d_ff * n for each, n in zip(decoder.feed_forwards, experts, strict=True)]
    n_weights = decoder.n_layers * layer + sum(2 * d_model * n for n in units)
    return FLOAT * (n_weights + 2 * config.vocab_size * d_model)


def plan_memory(
    config: TerraformerConfig,
    n_tokens: int,
    n_sentences: int,
    budget: int | None,
    resident: int | None = None,
    device: torch.device = _CPU,
) -> MemoryPlan:
    """Chooses the largest chunks with which a document fits the budget.

    Args:
        config: Of the model.
        n_tokens: Of the document.
        n_sentences: Of the document.
        budget: Bytes for the whole process, of main memory or, on a GPU, of torch's there, where
            torch itself enforces them from then on; None sets no limit.
        resident: Bytes that the process holds already; None asks the system.
        device: Where the model is.
    Raises:
        MemoryBudgetError: if even the smallest chunks need more, saying how much, or a GPU has not
            as much free.
    """
    return _choose(
        lambda chunk_len: estimate_bytes(config, n_tokens, n_sentences, chunk_len, device),
        *(n_tokens, budget, resident, device),
    )


def plan_writing(
    config: EncoderDecoderConfig,
    n_source: int,
    n_target: int,
    budget: int | None,
    resident: int | None = None,
    device: torch.device = _CPU,
) -> MemoryPlan:
    """Chooses the largest chunks with which a summary can be written within the budget.

    Args:
        config: Of the model.
        n_source: Tokens of the source.
        n_target: Most tokens of the summary, over all texts of a beam.
        budget: Bytes for the whole process, of main memory or, on a GPU, of torch's there, where
            torch itself enforces them from then on; None sets no limit.
        resident: Bytes that the process holds already; None asks the system.
        device: Where the model is.
    Raises:
        MemoryBudgetError: if even the smallest chunks need more, saying how much, or a GPU has not
            as much free.
    """
    return _choose(
        lambda chunk_len: estimate_writing_bytes(config, n_source, n_target, chunk_len, device),
        *(n_source, budget, resident, device),
    )


def _choose(
    estimate: Callable[[int], int],
    n_tokens: int,
    budget: int | None,
    resident: int | None,
    device: torch.device,
) -> MemoryPlan:
    plans = [MemoryPlan(chunk_len, estimate(chunk_len)) for chunk_len in _CHUNK_LENGTHS]
    if budget is None:
        return plans[1]
    if device.type == "cuda":
        enforce_budget(budget, device)
    if resident is None:
        resident = _resident_bytes(device)
    for plan in plans:
        if resident + plan.peak_bytes <= budget:
            return plan
    least = resident + plans[-1].peak_bytes
    raise MemoryBudgetError(
        f"{n_tokens:,} tokens need {_readable(least)}, the budget is {_readable(budget)}: "
        f"give --memory {-(-least // 2**20)}MiB or more, or summarize the document in parts"
    )


def apply_plan(plan: MemoryPlan, model: nn.Module) -> None:
    """Makes the model's dense and sparse feed-forward layers work in the plan's chunks."""
    for module in model.modules():
        if isinstance(module, (DenseFF, SparseFF)):
            module.chunk_len = plan.feed_forward_chunk_len


def enforce_budget(budget: int, device: torch.device) -> None:
    """Makes torch refuse what would take more of a GPU than the budget, in bytes.

    What CUDA itself takes, some hundred MiB a process, is not torch's and not counted.

    Raises:
        MemoryBudgetError: if the GPU has not as much free for this process.
    """
    free, total = torch.cuda.mem_get_info(device)
    there = free + torch.cuda.memory_reserved(device)
    if budget > there:
        raise MemoryBudgetError(
            f"the budget is {_readable(budget)}, the GPU has {_readable(there)} for it: "
            f"give --memory {there // 2**20}MiB or less"
        )
    torch.cuda.set_per_process_memory_fraction(budget / total, device)


@contextmanager
def refusals_told(budget: int | None) -> Iterator[None]:
    """Tells what a GPU refuses inside the `with` as an error with the way out.

    Args:
        budget: Bytes that torch was allowed there; None if as many as there are.
    Raises:
        MemoryBudgetError: in place of torch's own error.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        if budget is None:
            message = "the GPU has too little free memory for it: end what else is at work there,"
        else:
            message = f"it needs more of the GPU than the budget of {_readable(budget)}:"
            message += " give a larger --memory,"
        raise MemoryBudgetError(
            f"{message} summarize the document in parts, or give --device cpu"
        ) from error


def _resident_bytes(device: torch.device) -> int:
    """What the process holds: of main memory, or of a GPU's in tensors."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    return psutil.Process().memory_info().rss


def _kind(device: torch.device) -> str:
    return "cuda" if device.type == "cuda" else "cpu"


def _readable(n_bytes: int) -> str:
    return f"{n_bytes / 2**20:,.0f} MiB"
