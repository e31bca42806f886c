"""A training that goes on by itself: started in a session of its own, watched through its log."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from finetune.loop import LOG_FILE
from terraformer.errors import TerraformerError

PID_FILE = "pid"
OUTPUT_FILE = "output.txt"
EXIT_FILE = "exit"
_POLL = 0.5  # seconds


def start(output: Path, words: Sequence[str]) -> int:
    """Starts `python -m finetune.gpu train` with some words, detached; returns its process id.

    Raises:
        TerraformerError: if a run works in this folder already.
    """
    if is_running(output):
        raise TerraformerError(f"a run works in {output} already: wait for it, or end it")
    output.mkdir(parents=True, exist_ok=True)
    (output / EXIT_FILE).unlink(missing_ok=True)
    with (output / OUTPUT_FILE).open("a") as file:
        process = subprocess.Popen(
            [sys.executable, "-u", "-m", "finetune.gpu", "train", *words],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    (output / PID_FILE).write_text(str(process.pid))
    return process.pid


def is_running(output: Path) -> bool:
    """Whether the process that was started for a folder is alive and has not ended."""
    try:
        process = int((output / PID_FILE).read_text())
        with contextlib.suppress(ChildProcessError):
            os.waitpid(process, os.WNOHANG)  # else a child that ended would still be there
        os.kill(process, 0)
    except (FileNotFoundError, ValueError, ProcessLookupError):
        return False
    return not (output / EXIT_FILE).exists()


def last_line(output: Path) -> tuple[str, dict[str, Any]] | None:
    """Returns the phase that wrote to its log last, and the last line that tells of training."""
    logs = sorted(output.glob(f"phase-*/{LOG_FILE}"))
    if not logs:
        return None
    lines = [json.loads(line) for line in logs[-1].read_text().splitlines()]
    if not lines:
        return None
    known: dict[str, Any] = {}
    for line in lines:
        known |= line
    return logs[-1].parent.name, known


def describe(output: Path) -> str:
    """Returns how a run stands, in one line."""
    state = "running" if is_running(output) else "not running"
    if (output / EXIT_FILE).exists():
        code = (output / EXIT_FILE).read_text().strip()
        state = "finished" if code == "0" else f"failed with exit status {code}"
    line = last_line(output)
    if line is None:
        return state
    phase, known = line
    shown = ("progress", "step", "loss", "validation_loss", "tokens_per_s", "ms_per_step", "gib")
    words = [f"{name} {known[name]}" for name in shown if name in known]
    return f"{state}: {phase}, {', '.join(words)}, {known['left']:.0f} s left of it"


def wait(output: Path, seconds: float, tell: float = 30.0) -> None:
    """Prints how a run stands every `tell` seconds, until it ends or the time is up."""
    end = told = time.monotonic()
    end += seconds
    print(describe(output), flush=True)
    while is_running(output) and time.monotonic() < end:
        time.sleep(_POLL)
        if time.monotonic() - told >= tell or not is_running(output):
            told = time.monotonic()
            print(describe(output), flush=True)


def tail(output: Path, n_lines: int) -> str:
    """Returns the last lines of what a run printed."""
    path = output / OUTPUT_FILE
    return "\n".join(path.read_text().splitlines()[-n_lines:]) if path.exists() else ""
