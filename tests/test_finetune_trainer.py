from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import TrainingArguments

from finetune.distillation import Teacher
from finetune.optimizer import Adafactor
from finetune.trainer import FamilyTrainer, NewDraws
from terraformer.attention_config import FullAttentionConfig
from terraformer.build import build_model
from terraformer.config import LanguageModelConfig
from terraformer.feed_forward_config import SwitchFFConfig
from terraformer.stack_config import StackConfig
from terraformer.switch import SwitchFF

N_EXAMPLES = 8


class Slope(nn.Module):
    """A line through zero, which notes whether it was given a teacher."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.zeros(()))
        self.taught: list[tuple[bool, bool]] = []

    def forward(self, x: Tensor, y: Tensor, teacher: Any = None) -> dict[str, Tensor]:
        self.taught.append((self.training, teacher is not None))
        loss = (self.slope * x - y).square().mean()
        return {"loss": loss, "half": loss.detach() / 2, "one": torch.ones(())}


DATA = [{"x": torch.tensor(float(i)), "y": torch.tensor(2.0 * i)} for i in range(N_EXAMPLES)]


def trainer(
    folder: Path,
    model: nn.Module | None = None,
    optimizer: str = "adamw",
    schedule: str = "cosine",
    teacher: Teacher | None = None,
    callbacks: list[Any] | None = None,
    **more: Any,
) -> FamilyTrainer:
    options = {
        "per_device_train_batch_size": 2,
        "num_train_epochs": 2,
        "learning_rate": 0.1,
        "logging_steps": 2,
        "save_strategy": "no",
        "label_names": ["y"],
        "report_to": [],
        "disable_tqdm": True,
        "use_cpu": True,
        "remove_unused_columns": False,
    }
    return FamilyTrainer(
        teacher=teacher,
        optimizer=optimizer,  # type: ignore[arg-type]
        schedule=schedule,  # type: ignore[arg-type]
        model=model or Slope(),
        args=TrainingArguments(output_dir=str(folder), **{**options, **more}),
        train_dataset=DATA,
        eval_dataset=DATA,
        callbacks=callbacks,
    )


def test_the_parts_of_the_loss_are_logged_as_means_since_the_last_log(tmp_path: Path) -> None:
    run = trainer(tmp_path)
    run.train()
    logs = [entry for entry in run.state.log_history if "loss" in entry]
    assert len(logs) == 4
    for entry in logs:
        assert entry["half"] == pytest.approx(entry["loss"] / 2, rel=1e-3)
        assert entry["one"] == 1
    assert "half" not in run.evaluate()


def test_the_teacher_is_heard_in_training_alone(tmp_path: Path) -> None:
    stack = StackConfig(1, FullAttentionConfig(2), SwitchFFConfig(8, 2), residual="standard")
    teacher = Teacher(build_model(LanguageModelConfig(30, 8, stack)))
    model = Slope()
    run = trainer(tmp_path, model, teacher=teacher)
    run.train()
    run.evaluate()
    assert model.taught == [(True, True)] * 8 + [(False, False)] * 1


def rates(folder: Path, **options: Any) -> tuple[FamilyTrainer, list[float]]:
    run = trainer(folder, num_train_epochs=4, logging_steps=1, warmup_steps=4, **options)
    run.train()
    return run, [e["learning_rate"] for e in run.state.log_history if "learning_rate" in e]


def test_adafactor_and_its_schedules_are_the_trainers(tmp_path: Path) -> None:
    run, flat = rates(tmp_path, optimizer="adafactor", schedule="rsqrt-flat")
    assert isinstance(run.optimizer.optimizer, Adafactor)  # type: ignore[attr-defined]
    assert flat[:4] == pytest.approx([0.1] * 4)
    assert flat[15] == pytest.approx(0.1 * (4 / 16) ** 0.5)
    run, warm = rates(tmp_path, optimizer="adamw", schedule="rsqrt")
    assert isinstance(run.optimizer.optimizer, torch.optim.AdamW)  # type: ignore[attr-defined]
    assert warm[:4] == pytest.approx([0.025, 0.05, 0.075, 0.1])
    assert warm[15] == pytest.approx(0.05)
    _, cosine = rates(tmp_path, optimizer="adafactor", schedule="cosine")
    assert max(cosine) == pytest.approx(0.1)
    assert cosine[15] < 0.01


def test_the_data_are_told_each_epoch(tmp_path: Path) -> None:
    class Draws:
        def __init__(self) -> None:
            self.epochs: list[int] = []

        def set_epoch(self, epoch: int) -> None:
            self.epochs.append(epoch)

    draws = Draws()
    trainer(tmp_path, num_train_epochs=3, callbacks=[NewDraws(draws)]).train()
    assert draws.epochs == [0, 1, 2]


def test_the_load_balancing_loss_is_divided_among_the_batches_of_a_step(tmp_path: Path) -> None:
    class Routed(Slope):
        def __init__(self) -> None:
            super().__init__()
            self.switch = SwitchFF(SwitchFFConfig(8, 2), 4)
            self.scales: list[float] = []

        def forward(self, x: Tensor, y: Tensor, teacher: Any = None) -> dict[str, Tensor]:
            self.scales.append(self.switch.loss_scale)
            return super().forward(x, y, teacher)

    model = Routed()
    trainer(tmp_path, model, gradient_accumulation_steps=4, num_train_epochs=1).train()
    assert model.scales == [0.25] * 4
