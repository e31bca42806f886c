"""Command `python -m eval.learning`: whether each family member learns to copy, sort and recall."""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn
from tqdm import tqdm

from eval.command import positive, positive_list, require_folder_of
from eval.learning_member import (
    D_MODEL,
    MEMBERS,
    N_LAYERS,
    build_member,
    fit_positions,
    hashes_by_lsh,
)
from eval.learning_task import TASKS, Batch, Task
from eval.report import commit_of_code
from finetune.command import exit_status
from terraformer.language_model import LanguageModel

_TRAIN_SEED, _TEST_SEED = 1, 2
MORE_HASHES = 16


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
    generator = Generator().manual_seed(_TEST_SEED)
    model.eval()
    shares = [accuracy(*answer(model, task.draw(1, length, generator))) for _ in range(n_sequences)]
    return sum(shares) / n_sequences


def learn(
    member: str, task: Task, length: int, schedule: Schedule, n_sequences: int
) -> dict[str, Any]:
    """Trains a member on a task and tells how well it does: a row of the table.

    Args:
        member: Name in `MEMBERS`.
        task: The task.
        length: Of the sequences, the longest of the curriculum.
        schedule: Of the training.
        n_sequences: Fresh sequences of the accuracy.
    Returns:
        The row; where a member hashes, also its accuracy with more rounds than in training.
    """
    torch.manual_seed(0)
    model = build_member(member, task)
    start = time.process_time()
    n_steps = train(model, task, length, schedule)
    seconds = time.process_time() - start
    row = {
        "member": member,
        "task": task.name,
        "length": length,
        "max_steps": schedule.max_steps,
        "steps": n_steps,
        "cpu_s": round(seconds, 1),
        "accuracy": round(measure(model, task, length, n_sequences), 4),
        "chance": round(task.chance, 3),
    }
    if hashes_by_lsh(member):
        more = build_member(member, task, MORE_HASHES)
        fit_positions(more, length)
        more.load_state_dict(model.state_dict())
        row[f"accuracy_{MORE_HASHES}_hashes"] = round(measure(more, task, length, n_sequences), 4)
    return row


def format_table(rows: Sequence[dict[str, Any]]) -> str:
    """Lays out rows for reading; what a row lacks stays empty."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [names, *([str(row.get(name, "")) for name in names] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True))
        for line in cells
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    for name in options.tasks:
        shortest = TASKS[name].min_len
        if min(options.lengths) < shortest:
            parser.error(f"--lengths: {name} takes at least {shortest} tokens")
    return exit_status("eval.learning", lambda: _run(options))


def _run(options: argparse.Namespace) -> None:
    require_folder_of(options.report)
    schedule = Schedule(max_steps=options.max_steps)
    done: Path | None = options.resume
    if done:
        done.mkdir(parents=True, exist_ok=True)
    rows = []
    for length in options.lengths:
        for task in options.tasks:
            for member in options.members:
                file = done and done / f"{member}-{task}-{length}.json"
                if file and file.exists():
                    rows.append(json.loads(file.read_text(encoding="utf-8")))
                    continue
                rows.append(learn(member, TASKS[task], length, schedule, options.sequences))
                if file:
                    file.write_text(json.dumps(rows[-1]) + "\n", encoding="utf-8")
    print(format_table(rows))
    if options.report:
        config = {
            "d_model": D_MODEL,
            "n_layers": N_LAYERS,
            **asdict(schedule),
            "sequences": options.sequences,
            "machine": platform.machine(),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
        }
        values = {"config": config, "commit": commit_of_code(), "rows": rows}
        options.report.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m eval.learning",
        description="Trains small members of the family on synthetic tasks and prints the share of "
        "right answers on fresh sequences, beside that of the best blind guess.",
    )
    parser.add_argument("--members", nargs="+", choices=MEMBERS, default=list(MEMBERS))
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument(
        "--lengths",
        type=positive_list,
        default=(1024,),
        metavar="N,N,…",
        help="tokens of the sequences (default: 1024)",
    )
    parser.add_argument(
        "--max-steps",
        type=positive,
        default=Schedule.max_steps,
        metavar="N",
        help="most steps at each length of the curriculum (default: %(default)s)",
    )
    parser.add_argument(
        "--sequences",
        type=positive,
        default=32,
        metavar="N",
        help="fresh sequences that are scored (default: %(default)s)",
    )
    parser.add_argument(
        "--resume", type=Path, metavar="FOLDER", help="keep finished rows there and reuse them"
    )
    parser.add_argument("--report", type=Path, metavar="FILE", help="write the rows there as JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main())
