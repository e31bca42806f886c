"""Hugging Face's Trainer with what our training adds: teacher, Adafactor, weight average."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any, Literal, Protocol, cast

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from transformers import Trainer, TrainerCallback

from finetune.distillation import Teacher
from finetune.optimizer import Adafactor, rsqrt_schedule
from terraformer.switch import SwitchFF

AVERAGE_FILE = "average.pt"
Schedule = Literal["cosine", "rsqrt", "rsqrt-flat"]


class WeightAverage(TrainerCallback):
    """Keeps an exponential moving average of the weights, saved and resumed with the run."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay))
        self._model = model

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.average.update_parameters(self._model)

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.is_world_process_zero:
            folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            torch.save(self.average.state_dict(), folder / AVERAGE_FILE)

    def resume(self, folder: str) -> None:
        """Takes the average back from a folder of the Trainer's."""
        path = Path(folder) / AVERAGE_FILE
        self.average.load_state_dict(torch.load(path, weights_only=True))


class DrawsByEpoch(Protocol):
    """Data that are drawn anew at every epoch."""

    def set_epoch(self, epoch: int) -> None: ...


class NewDraws(TrainerCallback):
    """Tells the data the epoch, so that a resumed run draws what an unbroken one would."""

    def __init__(self, data: DrawsByEpoch) -> None:
        self._data = data

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._data.set_epoch(int(state.epoch))


class FamilyTrainer(Trainer):
    """Trains an objective, with a teacher or without, and logs the parts of its loss.

    Args:
        teacher: Given to the objective in training; evaluation is on the data alone.
        optimizer: "adamw" or "adafactor".
        schedule: "cosine", or "rsqrt" and "rsqrt-flat" with a linear warm-up and without.
        options: Of the Trainer.
    """

    def __init__(
        self,
        teacher: Teacher | None,
        optimizer: Literal["adamw", "adafactor"],
        schedule: Schedule,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self._teacher = teacher
        self._optimizer_name = optimizer
        self._schedule: Schedule = schedule
        self._parts: defaultdict[str, list[Tensor]] = defaultdict(list)
        assert isinstance(self.model, nn.Module)
        self._switches = [layer for layer in self.model.modules() if isinstance(layer, SwitchFF)]
        if teacher is not None:
            teacher.model.to(self.args.device)

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        if self._optimizer_name == "adamw":
            return super().create_optimizer(model)
        if self.optimizer is None:
            trained = model or self.model
            assert trained is not None
            self.optimizer = Adafactor(trained.parameters(), lr=self.args.learning_rate)
        return self.optimizer

    def create_scheduler(
        self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None
    ) -> LRScheduler:
        if self._schedule == "cosine":
            return super().create_scheduler(num_training_steps, optimizer)
        if self.lr_scheduler is None:
            self.lr_scheduler = rsqrt_schedule(
                optimizer or self.optimizer,
                self.args.get_warmup_steps(num_training_steps),
                linear_warmup=self._schedule == "rsqrt",
            )
        return self.lr_scheduler

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        if model.training:
            inputs = {**inputs, "teacher": self._teacher}
            for layer in self._switches:
                layer.loss_scale = 1.0 / self.current_gradient_accumulation_steps
        loss, outputs = cast(
            tuple[Tensor, dict[str, Tensor]],
            super().compute_loss(model, inputs, True, num_items_in_batch),
        )
        if model.training:
            for name in outputs.keys() - {"loss"}:
                self._parts[name].append(outputs[name])
        return (loss, outputs) if return_outputs else loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "loss" in logs:
            for name, values in self._parts.items():
                logs[name] = torch.stack(values).mean().item()
            self._parts.clear()
        super().log(logs, start_time)
