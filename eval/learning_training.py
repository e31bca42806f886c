"""Trains and measures small language models on the synthetic tasks."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn
from tqdm import tqdm

from eval.learning_member import fit_positions
from eval.learning_task import Batch, Task
from terraformer.language_model import LanguageModel

_TRAIN_SEED, _TEST_SEED = 1, 2


@dataclass(frozen=True)
class Schedule:
    """How a member is trained.

    Attributes:
        max_steps: Most steps at each length of the curriculum.
        n_tokens: Tokens of a step, or one sequence if that is longer.
        learning_rate: After `n_warmup` steps at each length; at the last one, it then falls to a
            tenth.
        n_warmup: Steps at each length.
        lengthen_at: Running accuracy at which the next length is begun.
        stop_at: Running accuracy at the last length at which training ends.
    """

    max_steps: int = 400
    n_tokens: int = 512
    learning_rate: float = 3e-3
    n_warmup: int = 50
    lengthen_at: float = 0.95
    stop_at: float = 0.998


def curriculum(length: int) -> tuple[int, ...]:
    """Returns the lengths trained at, one after another: short ones show what is to be done."""
    return (*(n for n in (64, 256, 1024) if n < length), length)


def train(model: LanguageModel, task: Task, length: int, schedule: Schedule) -> int:
    """Trains on fresh sequences, up to those of `length`, and returns the steps taken."""
    generator = Generator().manual_seed(_TRAIN_SEED)
    model.train()
    lengths = curriculum(length)
    return sum(_train_at(model, task, n, n == length, schedule, generator) for n in lengths)


def _train_at(
    model: LanguageModel,
    task: Task,
    length: int,
    is_last: bool,
    schedule: Schedule,
    generator: Generator,
) -> int:
    """Trains on sequences of one length until it is learnt, and returns the steps taken."""
    fit_positions(model, length)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.0, betas=(0.9, 0.98))
    enough = schedule.stop_at if is_last else schedule.lengthen_at
    name = f"{task.name} {length}"
    progress = tqdm(range(schedule.max_steps), name, file=sys.stderr, mininterval=1.0)
    running = 0.0
    for i in progress:
        rate = schedule.learning_rate * min(1.0, (i + 1) / schedule.n_warmup)
        if is_last:
            rate *= 1.0 - 0.9 * i / schedule.max_steps
        for group in optimizer.param_groups:
            group["lr"] = rate
        batch = task.draw(max(1, schedule.n_tokens // length), length, generator)
        logits, answers = answer(model, batch)
        optimizer.zero_grad()
        F.cross_entropy(logits, answers).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        running = 0.9 * running + 0.1 * accuracy(logits, answers)
        progress.set_postfix(accuracy=f"{running:.3f}", refresh=False)
        if running > enough:
            progress.close()
            return i + 1
    return schedule.max_steps


def answer(model: LanguageModel, batch: Batch) -> tuple[Tensor, Tensor]:
    """Returns logits where the batch is scored, [n, vocab_size], and the right tokens, [n]."""
    return model.head(model(batch.ids)[batch.scored]), batch.ids[batch.scored]


def accuracy(logits: Tensor, answers: Tensor) -> float:
    """Returns the share of answers [n] that have the largest of logits [n, vocab_size]."""
    return (logits.argmax(dim=-1) == answers).float().mean().item()


@torch.no_grad()
def measure(model: LanguageModel, task: Task, length: int, n_sequences: int) -> float:
    """Returns the accuracy on sequences that training did not draw, read one by one."""
    model.eval()
    batches = fresh_batches(task, length, n_sequences)
    return sum(accuracy(*answer(model, batch)) for batch in batches) / n_sequences


def fresh_batches(task: Task, length: int, n_sequences: int) -> Iterator[Batch]:
    """Yields sequences that training did not draw, one by one, the same at every call."""
    generator = Generator().manual_seed(_TEST_SEED)
    for _ in range(n_sequences):
        yield task.draw(1, length, generator)
