from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from terraformer.batch import SourceArrays, collate
from terraformer.checkpoint import load_checkpoint
from terraformer.config import TerraformerConfig
from terraformer.document import Document
from terraformer.errors import MemoryBudgetError
from terraformer.memory import apply_plan, estimate_bytes, plan_memory

CONFIG = TerraformerConfig()
MIB = 2**20


def test_the_largest_chunks_that_fit_are_chosen() -> None:
    size = 500_000, 20_000
    needed = {chunk: estimate_bytes(CONFIG, *size, chunk) for chunk in (0, 16384, 4096, 1024)}
    for budget in needed.values():
        plan = plan_memory(CONFIG, *size, MIB + budget, MIB)
        assert plan.peak_bytes == needed[plan.feed_forward_chunk_len] <= budget
        larger = [n for n in needed if n == 0 or n > plan.feed_forward_chunk_len > 0]
        assert all(needed[n] > budget for n in larger if n != plan.feed_forward_chunk_len)
    whole = estimate_bytes(CONFIG, *size, 0)
    assert plan_memory(CONFIG, *size, MIB + whole, MIB).feed_forward_chunk_len == 0
    assert plan_memory(CONFIG, *size, MIB + whole - 1, MIB).feed_forward_chunk_len > 0


def test_the_estimate_grows_with_every_size() -> None:
    base = estimate_bytes(CONFIG, 10_000, 400, 1024)
    assert base < estimate_bytes(CONFIG, 20_000, 400, 1024)
    assert base < estimate_bytes(CONFIG, 10_000, 800, 1024)
    assert estimate_bytes(CONFIG, 100_000, 400, 1024) < estimate_bytes(CONFIG, 100_000, 400, 0)


def test_too_small_a_budget_is_told_the_least_that_works() -> None:
    size = 50_000, 2_000
    with pytest.raises(MemoryBudgetError, match="50,000 tokens need") as caught:
        plan_memory(CONFIG, *size, 100 * MIB, 90 * MIB)
    message = str(caught.value)
    assert "the budget is 100 MiB" in message
    least = int(message.split("--memory ")[1].split("MiB")[0])
    assert plan_memory(CONFIG, *size, least * MIB, 90 * MIB).feed_forward_chunk_len >= 1024
    with pytest.raises(MemoryBudgetError):
        plan_memory(CONFIG, *size, (least - 1) * MIB, 90 * MIB)


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


MEASURE = """
import gc, json, sys
import torch
from terraformer.config import TerraformerConfig
from terraformer.memory import apply_plan, estimate_bytes, plan_memory
from terraformer.model import Source, Terraformer

def kib(field):
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field + ":"))

def source(n_tokens, n_sentences):
    return Source(
        ids=torch.randint(3, 24576, (1, n_tokens)),
        token_mask=torch.ones(1, n_tokens, dtype=torch.bool),
        sentence_of_token=torch.arange(n_tokens)[None] * n_sentences // n_tokens,
        features=torch.randn(1, n_sentences, 78),
        sentence_mask=torch.ones(1, n_sentences, dtype=torch.bool),
        selectable=torch.ones(1, n_sentences, dtype=torch.bool),
        n_words=torch.full((1, n_sentences), 20),
    )

torch.set_num_threads(1)
model = Terraformer(TerraformerConfig()).eval()
with torch.inference_mode():
    model.begin(source(300, 12))
    n_tokens, n_sentences = 16_000, 600
    whole = source(n_tokens, n_sentences)
    plan = plan_memory(model.config, n_tokens, n_sentences, None)
    apply_plan(plan, model)
    gc.collect()
    before, high = kib("VmRSS"), kib("VmHWM")
    logits, state = model.begin(whole)
    for pick in range(5):
        logits, state = model.step(pick, 20, state)
print(json.dumps([plan.peak_bytes, before, high, kib("VmHWM")]))
"""


@pytest.mark.skipif(
    not Path("/proc/self/status").exists() or "VmHWM" not in Path("/proc/self/status").read_text(),
    reason="the system does not tell a process its own peak",
)
def test_the_estimate_holds_the_real_peak_and_is_not_far_above() -> None:
    root = Path(__file__).resolve().parents[1]
    run = subprocess.run(
        [sys.executable, "-c", MEASURE], capture_output=True, text=True, cwd=root, check=True
    )
    estimate, before, high_before, high = json.loads(run.stdout)
    assert high > high_before
    peak = 1024 * (high - before)
    assert peak < estimate < 3 * peak
