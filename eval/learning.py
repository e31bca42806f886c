"""Command `python -m eval.learning`: whether each family member learns to copy, sort and recall."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any

import torch

from eval.command import positive, positive_list, require_folder_of
from eval.learning_cache import CACHES, attends_to_all, measure_caches
from eval.learning_member import (
    D_MODEL,
    MEMBERS,
    N_LAYERS,
    build_member,
    fit_positions,
    hashes_by_lsh,
)
from eval.learning_task import TASKS, Task
from eval.learning_training import Schedule, measure, train
from eval.table import describe_machine, format_rows, write_rows
from finetune.command import exit_status

MORE_HASHES = 16


def learn(
    member: str,
    task: Task,
    length: int,
    schedule: Schedule,
    n_sequences: int,
    with_caches: bool = False,
) -> dict[str, Any]:
    """Trains a member on a task and tells how well it does: a row of the table.

    Args:
        member: Name in `MEMBERS`.
        task: The task.
        length: Of the sequences, the longest of the curriculum.
        schedule: Of the training.
        n_sequences: Fresh sequences of the accuracy.
        with_caches: Whether a member that attends to all is also measured where steps read a part
            of its cache.
    Returns:
        The row; where a member hashes, also its accuracy with more rounds than in training; under
        "caches", where asked for, the rows of `measure_caches`.
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
    if with_caches and attends_to_all(member):
        row["caches"] = measure_caches(model, task, length, n_sequences)
    return row


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
    rows: dict[tuple[int, int, int], dict[str, Any]] = {}
    if options.resume:
        options.resume.mkdir(parents=True, exist_ok=True)
        for file in options.resume.glob("*.json"):
            row = json.loads(file.read_text(encoding="utf-8"))
            rows[_place(row["length"], row["task"], row["member"])] = row
    for length, task, member in product(options.lengths, options.tasks, options.members):
        place = _place(length, task, member)
        if place not in rows:
            rows[place] = learn(
                member, TASKS[task], length, schedule, options.sequences, options.caches
            )
            if options.resume:
                file = options.resume / f"{member}-{task}-{length}.json"
                file.write_text(json.dumps(rows[place]) + "\n", encoding="utf-8")
    _show([rows[place] for place in sorted(rows)], schedule, options)


def _place(length: int, task: str, member: str) -> tuple[int, int, int]:
    """Where a row stands in the table."""
    return length, list(TASKS).index(task), list(MEMBERS).index(member)


def _show(rows: list[dict[str, Any]], schedule: Schedule, options: argparse.Namespace) -> None:
    print(format_rows(rows))
    names = ("member", "task", "length")
    caches = [
        {name: row[name] for name in names} | cache
        for row in rows
        for cache in row.get("caches", ())
    ]
    if caches:
        print(f"\n{format_rows(caches)}")
    if options.report:
        config = {
            "d_model": D_MODEL,
            "n_layers": N_LAYERS,
            **{name: value for name, value in asdict(schedule).items() if name != "max_steps"},
            "sequences": options.sequences,
            **describe_machine(),
        }
        if caches:
            config["caches"] = {name: asdict(cache) for name, cache in CACHES.items()}
        write_rows(options.report, config, rows=rows)


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
        "--caches",
        action="store_true",
        help="also measure members of full attention where steps read a part of the cache",
    )
    parser.add_argument(
        "--resume",
        type=Path,
        metavar="FOLDER",
        help="keep finished rows there; those there are not trained again and are shown too",
    )
    parser.add_argument("--report", type=Path, metavar="FILE", help="write the rows there as JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main())
