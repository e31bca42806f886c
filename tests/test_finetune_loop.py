from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from finetune.batch_plan import BatchKey
from finetune.loop import LOG_FILE, STATE_FILE, Loop, LoopOptions, rate_share
from finetune.shard_task import ShardTask
from terraformer.errors import TerraformerError

CPU = torch.device("cpu")
OPTIONS = LoopOptions(
    steps=12,
    batch_tokens=40,
    learning_rate=0.05,
    average_decay=0.5,
    bf16=False,
    log_steps=3,
    save_seconds=0.0,
)


class Points:
    """Examples of a line, y = x · (1, 2), for the loop to learn."""

    n_tokens = np.full(24, 10)

    def __getitem__(self, key: BatchKey) -> dict[str, Tensor]:
        x = torch.tensor([[item % 5, item % 3] for item in key.items], dtype=torch.float32)
        return {"x": x, "mask": torch.ones(len(x), 10, dtype=torch.bool)}


class Line(nn.Module):
    """Draws, so that a resumed run must go on with the same random numbers."""

    def __init__(self, fails_at: int = -1) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 1)
        self.dropout = nn.Dropout(0.2)
        self.n_calls = 0
        self.fails_at = fails_at

    def forward(self, x: Tensor, mask: Tensor) -> dict[str, Tensor]:
        self.n_calls += self.training
        if self.n_calls == self.fails_at:
            raise InterruptedError
        error = self.layer(self.dropout(x))[:, 0] - x @ torch.tensor([1.0, 2.0])
        return {"loss": error.square().mean()}


def run(folder: Path, objective: Line, options: LoopOptions = OPTIONS) -> Loop:
    points = cast(ShardTask, Points())
    loop = Loop(objective, points, points, folder, options, CPU)
    loop.run()
    return loop


def log(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / LOG_FILE).read_text().splitlines()]


def new_line(fails_at: int = -1) -> Line:
    torch.manual_seed(1)
    return Line(fails_at)


@pytest.mark.parametrize("optimizer", ["adamw", "adafactor"])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_run_that_was_stopped_ends_as_an_unbroken_one(
    optimizer: Any, accumulate: int, tmp_path: Path
) -> None:
    options = replace(OPTIONS, optimizer=optimizer, accumulate=accumulate)
    whole = new_line()
    run(tmp_path / "whole", whole, options)
    broken = new_line(fails_at=7 * accumulate)
    with pytest.raises(InterruptedError):
        run(tmp_path / "broken", broken, options)
    torch.manual_seed(99)
    resumed = Line()
    loop = run(tmp_path / "broken", resumed, options)
    assert resumed.n_calls == (12 - 6) * accumulate
    assert (loop.step, loop.tokens) == (12, 12 * accumulate * 40)
    for name, weight in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], weight, rtol=0, atol=0)


def test_the_average_is_what_a_run_returns(tmp_path: Path) -> None:
    objective = new_line()
    run(tmp_path, objective, replace(OPTIONS, steps=80))
    state = torch.load(tmp_path / STATE_FILE, weights_only=True)
    last, average = state["objective"]["layer.weight"], state["average"]["module.layer.weight"]
    assert not torch.equal(last, average)
    lines = log(tmp_path)
    assert lines[-1]["finished"]
    assert lines[-1]["validation_loss"] < 0.2 * lines[0]["validation_loss"]
    losses = [line["loss"] for line in lines if "loss" in line]
    assert losses[-1] < 0.5 * losses[0]


def test_time_decides_where_it_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    def clock() -> float:
        nonlocal now
        now += 0.125
        return now

    monkeypatch.setattr(time, "monotonic", clock)
    options = replace(OPTIONS, steps=None, seconds=60.0, log_steps=1, save_seconds=1e9)
    loop = run(tmp_path, new_line(), options)
    assert 60.0 <= loop.seconds < 62.0
    rates = [line["learning_rate"] for line in log(tmp_path) if "loss" in line]
    assert len(rates) > 20
    assert max(rates) > 0.9 * options.learning_rate
    assert rates[-1] < 0.1 * options.learning_rate


@pytest.mark.parametrize("times", [{"steps": None}, {"seconds": 3.0}])
def test_one_measure_of_length_is_needed(times: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="one of steps"):
        replace(OPTIONS, **times)


def test_the_rate_rises_and_falls() -> None:
    rates = [rate_share(progress, 0.1, 0.02) for progress in (0, 0.05, 0.1, 0.55, 1, 1.2)]
    assert rates == pytest.approx([0, 0.5, 1, 0.51, 0.02, 0.02])


class Bad(Line):
    """Gradients are not finite from the second call to the last bad one."""

    def __init__(self, last: int) -> None:
        super().__init__()
        self.last = last

    def forward(self, x: Tensor, mask: Tensor) -> dict[str, Tensor]:
        loss = super().forward(x, mask)["loss"]
        return {"loss": loss * torch.nan if 2 <= self.n_calls <= self.last else loss}


def test_steps_without_a_finite_gradient_change_nothing(tmp_path: Path) -> None:
    torch.manual_seed(1)
    objective = Bad(last=4)
    run(tmp_path / "few", objective)
    assert all(weight.isfinite().all() for weight in objective.parameters())
    with pytest.raises(TerraformerError, match="were not finite"):
        run(tmp_path / "all", Bad(last=10_000), replace(OPTIONS, steps=100))
