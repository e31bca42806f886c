from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from memory_case import CONFIG, WRITERS, new_source, prepare_picking, prepare_writing

from eval.measured_process import Measurement, Work, measure
from terraformer.batch import SourceArrays, collate
from terraformer.checkpoint import load_checkpoint
from terraformer.document import Document
from terraformer.errors import MemoryBudgetError
from terraformer.feed_forward_config import SparseFFConfig
from terraformer.memory import (
    apply_plan,
    enforce_budget,
    estimate_bytes,
    estimate_writing_bytes,
    plan_memory,
    plan_writing,
    refusals_told,
)
from terraformer.model import Source, Terraformer

MIB = 2**20
LAYERS = CONFIG.token_encoder
UNITS = SparseFFConfig(d_ff=1536, block_size=8, d_lowrank=16)
WIDE = replace(CONFIG, token_encoder=replace(LAYERS, feed_forward=UNITS))  # chunks matter


def test_the_largest_chunks_that_fit_are_chosen() -> None:
    size = 500_000, 20_000
    needed = {chunk: estimate_bytes(WIDE, *size, chunk) for chunk in (0, 16384, 4096, 1024)}
    for budget in needed.values():
        plan = plan_memory(WIDE, *size, MIB + budget, MIB)
        assert plan.peak_bytes == needed[plan.feed_forward_chunk_len] <= budget
        larger = [n for n in needed if n == 0 or n > plan.feed_forward_chunk_len > 0]
        assert all(needed[n] > budget for n in larger if n != plan.feed_forward_chunk_len)
    whole = estimate_bytes(WIDE, *size, 0)
    assert plan_memory(WIDE, *size, MIB + whole, MIB).feed_forward_chunk_len == 0
    assert plan_memory(WIDE, *size, MIB + whole - 1, MIB).feed_forward_chunk_len > 0


def test_the_estimate_grows_with_every_size() -> None:
    base = estimate_bytes(WIDE, 10_000, 400, 1024)
    assert base < estimate_bytes(WIDE, 20_000, 400, 1024)
    assert base < estimate_bytes(WIDE, 10_000, 800, 1024)
    assert estimate_bytes(WIDE, 100_000, 400, 1024) < estimate_bytes(WIDE, 100_000, 400, 0)


def test_too_small_a_budget_is_told_the_least_that_works() -> None:
    size = 50_000, 2_000
    with pytest.raises(MemoryBudgetError, match="50,000 tokens need") as caught:
        plan_memory(WIDE, *size, 100 * MIB, 90 * MIB)
    message = str(caught.value)
    assert "the budget is 100 MiB" in message
    least = int(message.split("--memory ")[1].split("MiB")[0])
    assert plan_memory(WIDE, *size, least * MIB, 90 * MIB).feed_forward_chunk_len >= 1024
    with pytest.raises(MemoryBudgetError):
        plan_memory(WIDE, *size, (least - 1) * MIB, 90 * MIB)


def test_the_process_itself_counts() -> None:
    with pytest.raises(MemoryBudgetError):
        plan_memory(CONFIG, 10, 1, estimate_bytes(CONFIG, 10, 1, 1024))


def test_no_budget_is_no_limit() -> None:
    assert plan_memory(CONFIG, 10**9, 10**7, None).peak_bytes > 10**11


def test_chunks_change_no_state(tiny_checkpoint: Path, paper_text: str) -> None:
    model, tokenizer = load_checkpoint(tiny_checkpoint)
    source = collate([SourceArrays.of(Document.from_sections([("", paper_text)]), tokenizer)])
    n_tokens = source.ids.shape[1]
    assert n_tokens > 600
    states = []
    for plan in (
        plan_memory(model.config, n_tokens, 40, None),
        plan_memory(
            model.config, n_tokens, 40, estimate_bytes(model.config, n_tokens, 40, 1024), 0
        ),
    ):
        apply_plan(plan, model)
        with torch.no_grad():
            states.append(model.encode(source))
    torch.testing.assert_close(states[0], states[1], rtol=1e-5, atol=1e-5)


def _measured(prepare: Callable[..., Work], *arguments: object) -> int:
    result = measure(prepare, *arguments, limit_bytes=4 << 30, limit_seconds=300.0, threads=1)
    assert isinstance(result, Measurement), result
    return result.run_bytes


needs_mark = pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(),
    reason="the system does not set back a process's peak of memory",
)


@needs_mark
@pytest.mark.parametrize("n_tokens", [4_000, 32_000])
def test_the_estimate_holds_the_real_peak_and_is_not_far_above(n_tokens: int) -> None:
    size = n_tokens, n_tokens // 27
    peak = _measured(prepare_picking, *size)
    estimate = plan_memory(CONFIG, *size, None).peak_bytes
    assert peak < estimate < 3 * peak + 48 * MIB


@needs_mark
@pytest.mark.parametrize("name", WRITERS)
def test_the_estimate_of_writing_holds_the_real_peak(name: str) -> None:
    peak = _measured(prepare_writing, name, 12_000)
    estimate = plan_writing(WRITERS[name], 12_000, 10, None).peak_bytes
    assert peak < estimate < 4 * peak + 48 * MIB


def test_only_a_gpus_refusals_are_told() -> None:
    told = "the budget of 300 MiB: give a larger --memory"
    with pytest.raises(MemoryBudgetError, match=told), refusals_told(300 * MIB):
        raise torch.OutOfMemoryError("CUDA out of memory")
    with pytest.raises(RuntimeError, match="another") as caught, refusals_told(None):
        raise RuntimeError("another mistake")
    assert not isinstance(caught.value, MemoryBudgetError)


def test_writing_on_a_gpu_counts_the_copy_from_which_a_step_goes_on() -> None:
    config = WRITERS["joined"]
    size = 200_000, 512
    on_cpu, on_gpu = (
        estimate_writing_bytes(config, *size, 1024, torch.device(name)) for name in ("cpu", "cuda")
    )
    decoder = config.decoder
    own = 2 * decoder.n_layers * decoder.n_attention * sum(size) * config.d_model * 4
    assert on_gpu > on_cpu
    assert on_gpu > 3 * own


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_a_gpu_refuses_what_is_over_its_budget() -> None:
    gpu = torch.device("cuda", 0)
    budget = 256 * MIB
    try:
        with pytest.raises(MemoryBudgetError, match="the GPU has"):
            enforce_budget(1 << 50, gpu)
        enforce_budget(budget, gpu)
        with pytest.raises(torch.cuda.OutOfMemoryError):
            torch.empty(2 * budget, dtype=torch.uint8, device=gpu)
        model = Terraformer(CONFIG).eval().to(gpu)
        source = Source(*(item.to(gpu) for item in new_source(16_000, 600)))
        plan = plan_memory(CONFIG, 16_000, 600, 6 << 30, device=gpu)
        apply_plan(plan, model)
        model.begin(Source(*(item.to(gpu) for item in new_source(300, 12))))
        torch.cuda.reset_peak_memory_stats(gpu)
        before = torch.cuda.memory_allocated(gpu)
        model.begin(source)
        assert torch.cuda.max_memory_allocated(gpu) - before < plan.peak_bytes
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, gpu)
