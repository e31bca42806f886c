"""Whole models in `eval.kernels`: decoding as captured graphs, a long training step, papers.

It stands alone, but for the papers, where only PyTorch, Triton and NumPy are installed.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

from eval.decode_figure import PAIRS
from terraformer.attention_config import LSHAttentionConfig
from terraformer.config import EncoderDecoderConfig, LanguageModelConfig
from terraformer.encoder_decoder import EncoderDecoder
from terraformer.feed_forward_config import SparseFFConfig
from terraformer.graphed_decoding import GraphedDecoder
from terraformer.language_model import LanguageModel
from terraformer.preset import preset
from terraformer.stack_config import StackConfig
from terraformer.static_decoding import StaticDecoder

_GIB = 2**30
_N_TARGET = 512
_TRAINING_GIB = 24


@dataclass(frozen=True)
class ModelJob:
    """One row of a figure.

    Attributes:
        figure: Its name.
        system: What is measured.
        measure: Measures it on a device, tiny or not; returns the columns.
    """

    figure: str
    system: str
    measure: Callable[[torch.device, bool], dict[str, Any]]


def measure_decoding(
    config: LanguageModelConfig,
    context: int,
    compiled: bool,
    device: torch.device,
    tiny: bool,
) -> dict[str, Any]:
    """Times tokens that a model with random weights writes by itself, as one graph a token.

    Args:
        config: Of the model.
        context: Positions in the caches in the middle of what is timed.
        compiled: Whether torch.compile joins small kernels first.
        device: Where; on the CPU the same step runs without a graph.
        tiny: Whether one narrow layer stands for the model.
    """
    n_tokens, n_rounds = (4, 1) if tiny else (32, 15)
    if tiny:
        config, context = _shrunk(config), 16
    torch.manual_seed(0)
    with torch.device(device):
        model = LanguageModel(config).to(torch.float32 if tiny else torch.bfloat16).eval()
        prompt = torch.randint(config.vocab_size, (1, context - n_tokens // 2 - 1))
    if device.type == "cuda":
        decoder: StaticDecoder = GraphedDecoder(model, n_ahead=n_tokens, compiled=compiled)
    else:
        decoder = StaticDecoder(model, n_ahead=n_tokens)
    logits, state = model.begin(prompt)
    seconds = []
    for _ in range(n_rounds + 2):
        at = decoder.take_over(state, logits)
        _synchronize(device)
        start = time.perf_counter()
        decoder.write(n_tokens, at)
        _synchronize(device)
        seconds.append((time.perf_counter() - start) / n_tokens)
    step = statistics.median(seconds[2:])
    return {
        "context": context,
        "parameters_m": round(sum(item.numel() for item in model.parameters()) / 1e6, 1),
        "step_ms": round(1e3 * step, 4),
        "tokens_s": round(1 / step, 1),
    }


def measure_training(n_tokens: int, device: torch.device, tiny: bool) -> dict[str, Any]:
    """Takes two training steps of terraformer-800m on one document within a limit of memory.

    Weights, gradients and AdamW's two moments are float32, products bfloat16. torch itself refuses
    what goes beyond the limit.

    Args:
        n_tokens: Of the document and its summary together.
        device: Where.
        tiny: Whether one narrow layer stands for the model, and 64 tokens for the document.
    """
    config = preset("terraformer-800m")
    assert isinstance(config, EncoderDecoderConfig)
    n_target = _N_TARGET
    if tiny:
        config, n_tokens, n_target = _shrunk(config), 64, 16
    is_gpu = device.type == "cuda"
    if is_gpu:
        total = torch.cuda.get_device_properties(device).total_memory
        torch.cuda.set_per_process_memory_fraction(_TRAINING_GIB * _GIB / total, device)
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    torch.manual_seed(0)
    with torch.device(device):
        model = EncoderDecoder(replace(config, dropout=0.0)).train()
        source = torch.randint(config.vocab_size, (1, n_tokens - n_target))
        target = torch.randint(config.vocab_size, (1, n_target))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=is_gpu)
    seconds, loss = [], torch.zeros(())
    for _ in range(2):
        _synchronize(device)
        start = time.perf_counter()
        with torch.autocast(device.type, torch.bfloat16, enabled=is_gpu):
            loss = model.loss(source, target)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        _synchronize(device)
        seconds.append(time.perf_counter() - start)
    row: dict[str, Any] = {
        "tokens": n_tokens,
        "parameters_m": round(sum(item.numel() for item in model.parameters()) / 1e6, 1),
        "loss": round(loss.item(), 3),
        "seconds": round(seconds[-1], 3),
    }
    if is_gpu:
        torch.cuda.set_per_process_memory_fraction(1.0, device)
        row["peak_gib"] = round(torch.cuda.max_memory_allocated(device) / _GIB, 2)
        row["reserved_gib"] = round(torch.cuda.max_memory_reserved(device) / _GIB, 2)
        row["limit_gib"] = _TRAINING_GIB
    return row


def measure_papers(
    n_papers: int, n_words: int, memory: int | None, device: torch.device, tiny: bool
) -> dict[str, Any]:
    """Times summaries of random papers by the shipped model, the model being loaded.

    Args:
        n_papers: Papers, one after another.
        n_words: Words of each.
        memory: Budget in bytes, which torch itself enforces on a GPU; None sets no limit.
        device: Where the model is.
        tiny: Whether two short papers stand for them.
    """
    from eval.synthetic import synthetic_document
    from terraformer.summarizer import Summarizer

    if tiny:
        n_papers, n_words = 2, 300
    summarizer = Summarizer.load(memory=memory)
    summarizer.model.to(device)
    documents = [synthetic_document(n_words, seed) for seed in range(n_papers + 1)]
    summarizer.summarize(documents.pop())
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    start = time.perf_counter()
    for document in documents:
        summarizer.summarize(document)
    row: dict[str, Any] = {
        "papers": n_papers,
        "words": n_words,
        "seconds": round(time.perf_counter() - start, 3),
    }
    if device.type == "cuda":
        row["peak_gib"] = round(torch.cuda.max_memory_allocated(device) / _GIB, 3)
        row["reserved_gib"] = round(torch.cuda.max_memory_reserved(device) / _GIB, 3)
        row["limit_gib"] = None if memory is None else memory / _GIB
        torch.cuda.set_per_process_memory_fraction(1.0, device)
    return row


def _decoding(figure: str, context: int, compiled: bool = False) -> list[ModelJob]:
    jobs = []
    for name in ("sparse", "dense"):
        config = getattr(PAIRS["800m"], name)
        jobs.append(ModelJob(figure, name, partial(measure_decoding, config, context, compiled)))
    return jobs


MODEL_JOBS = [
    *_decoding("decode-800m-graph-ctx128", 128),
    *_decoding("decode-800m-graph-ctx2048", 2048),
    ModelJob("train-terraformer-800m-65536", "terraformer-800m", partial(measure_training, 65536)),
    ModelJob("summarize-100-papers", "shipped", partial(measure_papers, 100, 6_000, None)),
    ModelJob("summarize-6gib", "shipped", partial(measure_papers, 3, 200_000, 6 * _GIB)),
    *_decoding("decode-800m-compiled-graph-ctx128", 128, compiled=True),
]

FIGURES = tuple(dict.fromkeys(job.figure for job in MODEL_JOBS))


def add_speedups(rows: list[dict[str, Any]]) -> None:
    """Adds to the sparse model's rows how many times its tokens a second the dense one's are."""
    dense = {row["figure"]: row.get("step_ms") for row in rows if row["system"] == "dense"}
    for row in rows:
        theirs = dense.get(row["figure"])
        if row["system"] == "sparse" and theirs and row.get("step_ms"):
            row["dense_over_sparse"] = round(theirs / row["step_ms"], 2)


def _shrunk(config: Any) -> Any:
    """A config with one narrow layer a stack."""

    def shrink(stack: StackConfig) -> StackConfig:
        attention = replace(stack.attentions[0], n_heads=2)
        if hasattr(attention.qkv, "n_modules"):
            attention = replace(attention, qkv=replace(attention.qkv, n_modules=4))
        if isinstance(attention, LSHAttentionConfig):
            attention = replace(attention, chunk_len=16)
        feed_forward = replace(stack.feed_forwards[0], d_ff=64)
        if isinstance(feed_forward, SparseFFConfig):
            feed_forward = replace(feed_forward, block_size=16, d_lowrank=8)
        return replace(stack, n_layers=1, attention=attention, feed_forward=feed_forward)

    changes = {
        name: shrink(getattr(config, name))
        for name in ("encoder", "decoder")
        if hasattr(config, name)
    }
    return replace(config, d_model=32, vocab_size=512, **changes)


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
