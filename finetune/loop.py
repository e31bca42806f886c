"""A training loop for runs that have a certain time and no more, on one GPU or CPU.

`finetune.train` uses Hugging Face's Trainer; this loop stands in where a run has a lease. The
schedule is a function of the time that is used, so that the rate has come down when the time is up,
however fast the machine turns out to be; the Trainer must know the number of steps beforehand.
Batches hold so many tokens rather than so many papers. And nothing is imported but torch and numpy,
for there may be no network to fetch Accelerate from.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader

from finetune.batch_plan import BatchPlan
from finetune.optimizer import Adafactor
from finetune.shard_task import ShardTask
from terraformer.errors import TerraformerError

STATE_FILE = "state.pt"
LOG_FILE = "log.jsonl"
_MASKS = ("mask", "source_mask", "target_mask", "token_mask")
_MAX_BAD_STEPS = 20
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoopOptions:
    """How long and how a loop trains.

    Attributes:
        steps: Updates of the weights; None where the time decides.
        seconds: Time for all of it, reading and validation included; None where steps decide.
        batch_tokens: Most tokens of a batch, padding included.
        accumulate: Batches of a step.
        optimizer: "adamw" or "adafactor".
        learning_rate: The highest.
        warmup: Share of the run over which the rate rises to it.
        final_rate: Share of it to which the rate falls, along a cosine.
        weight_decay: Of matrices, with "adamw".
        clip: Largest norm of a gradient.
        average_decay: Of the moving average of the weights, which is what a run returns.
        bf16: Whether layers compute in bfloat16.
        log_steps: Steps from one line of the log to the next.
        save_seconds: Time from one saved state to the next.
        validation_batches: Most batches on which the average's loss is measured.
        workers: Processes that make batches; 0 makes them here.
        seed: Of the order of batches.
    """

    steps: int | None = None
    seconds: float | None = None
    batch_tokens: int = 32768
    accumulate: int = 1
    optimizer: Literal["adamw", "adafactor"] = "adamw"
    learning_rate: float = 1e-3
    warmup: float = 0.02
    final_rate: float = 0.02
    weight_decay: float = 0.01
    clip: float = 1.0
    average_decay: float = 0.998
    bf16: bool = True
    log_steps: int = 20
    save_seconds: float = 240.0
    validation_batches: int = 64
    workers: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.seconds is None):
            raise ValueError(f"one of steps ({self.steps}) and seconds ({self.seconds}) is needed")


def rate_share(progress: float, warmup: float, final: float) -> float:
    """Returns the share of the highest rate after `progress` of a run, in [0, 1]."""
    if progress < warmup:
        return progress / warmup
    place = min(1.0, (progress - warmup) / (1.0 - warmup))
    return final + (1.0 - final) * (1.0 + math.cos(math.pi * place)) / 2


class Loop:
    """Trains an objective until its steps are done or its time is up; goes on where it was stopped.

    With `steps`, a run that was stopped and went on ends in the same weights as one that was not.

    Args:
        objective: Returns a dictionary with the "loss" of a batch.
        train: What it is trained on.
        validation: What the average's loss is measured on whenever the state is saved.
        folder: Of state and log.
        options: How long and how.
        device: Where the objective lies.
    """

    def __init__(
        self,
        objective: nn.Module,
        train: ShardTask,
        validation: ShardTask,
        folder: Path,
        options: LoopOptions,
        device: torch.device,
    ) -> None:
        self._objective, self._train, self._options = objective, train, options
        self._folder, self._device = folder, device
        self._plan = BatchPlan(train.n_tokens, options.batch_tokens, options.seed)
        self._validation = validation
        self._optimizer = _new_optimizer(objective, options, device)
        self._average = AveragedModel(objective, multi_avg_fn=_Decay(options.average_decay))
        self.step = self.tokens = self._epoch = self._number = 0
        self._seconds_before = 0.0
        self._started = time.monotonic()
        self._recent: list[Tensor] = []
        self._last_log = (0, 0, 0.0)  # step, tokens, seconds

    @property
    def seconds(self) -> float:
        """Time used so far, that of the runs before a stop included."""
        return self._seconds_before + time.monotonic() - self._started

    @property
    def progress(self) -> float:
        """Share of the run that is done, in [0, 1]."""
        if self._options.steps is not None:
            return min(1.0, self.step / self._options.steps)
        assert self._options.seconds is not None
        return min(1.0, self.seconds / self._options.seconds)

    def run(self) -> None:
        """Trains to the end, then gives the objective the average of its weights.

        Raises:
            TerraformerError: if gradients stay without a finite norm.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        if (self._folder / STATE_FILE).exists():
            self._resume()
        self._objective.train()
        last_save, n_bad = self.seconds, 0
        batches = self._batches()
        while self.progress < 1.0:
            n_bad = 0 if self._train_step(batches) else n_bad + 1
            if n_bad > _MAX_BAD_STEPS:
                raise TerraformerError(
                    f"{n_bad} gradients in a row were not finite, the last at step {self.step}: "
                    "start again with a lower learning_rate"
                )
            if self.step % self._options.log_steps == 0:
                self._log(self._speed())
            if self.seconds - last_save >= self._options.save_seconds:
                self._save()
                self._log({"validation_loss": self._validate()})
                last_save = self.seconds
        self._log({"validation_loss": self._validate(), "finished": True})
        self._objective.load_state_dict(self._average.module.state_dict())

    def _batches(self) -> Iterator[dict[str, Tensor]]:
        loader = DataLoader(
            self._train,
            batch_size=None,
            sampler=self._plan.after(self._epoch, self._number),
            num_workers=self._options.workers,
            prefetch_factor=4 if self._options.workers else None,
            pin_memory=self._device.type == "cuda",
            generator=torch.Generator(),  # else it would draw from that of dropout
        )
        # The plan once more tells where the batch that comes belongs, for workers run ahead.
        for key, batch in zip(self._plan.after(self._epoch, self._number), loader, strict=False):
            self._epoch, self._number = key.epoch, key.number + 1
            yield batch

    def _train_step(self, batches: Iterator[dict[str, Tensor]]) -> bool:
        """Trains on the batches of one step; returns whether the gradient was finite."""
        options = self._options
        rate = options.learning_rate * rate_share(self.progress, options.warmup, options.final_rate)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        for _ in range(options.accumulate):
            batch = next(batches)
            self.tokens += sum(int(batch[name].sum()) for name in _MASKS if name in batch)
            loss = self._loss(self._objective, batch)
            (loss / options.accumulate).backward()
            self._recent.append(loss.detach())
        norm = nn.utils.clip_grad_norm_(self._objective.parameters(), options.clip)
        finite = bool(norm.isfinite())
        if finite:
            self._optimizer.step()
            self._average.update_parameters(self._objective)
        self._optimizer.zero_grad()
        self.step += 1
        return finite

    def _loss(self, objective: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        batch = {name: x.to(self._device, non_blocking=True) for name, x in batch.items()}
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._options.bf16):
            return objective(**batch)["loss"]

    @torch.no_grad()
    def _validate(self) -> float:
        """Returns the mean loss of the average on batches of validation, always the same."""
        objective = self._average.module.eval()
        task = self._validation
        keys = BatchPlan(task.n_tokens, self._options.batch_tokens, 0).epoch(0)
        keys = keys[: self._options.validation_batches]
        losses = [self._loss(objective, task[key]) for key in keys]
        return round(torch.stack(losses).mean().item(), 4)

    def _speed(self) -> dict[str, Any]:
        step, tokens, seconds = self._last_log
        self._last_log = (self.step, self.tokens, self.seconds)
        loss = torch.stack(self._recent).mean().item()
        self._recent.clear()
        passed = max(1e-9, self.seconds - seconds)
        values: dict[str, Any] = {
            "loss": round(loss, 4),
            "learning_rate": float(f"{self._optimizer.param_groups[0]['lr']:.3g}"),
            "tokens_per_s": round((self.tokens - tokens) / passed),
            "ms_per_step": round(1000 * passed / max(1, self.step - step)),
        }
        if self._device.type == "cuda":
            values["gib"] = round(torch.cuda.max_memory_allocated(self._device) / 2**30, 1)
        return values

    def _log(self, values: dict[str, Any]) -> None:
        used, progress = self.seconds, self.progress
        line = {
            "step": self.step,
            "epoch": self._epoch,
            "progress": round(progress, 4),
            "seconds": round(used, 1),
            "left": round(used * (1 - progress) / max(1e-9, progress), 1),
            "tokens": self.tokens,
            **values,
        }
        with (self._folder / LOG_FILE).open("a") as file:
            file.write(json.dumps(line) + "\n")
        _LOG.info("%s", " ".join(f"{name}={value}" for name, value in line.items()))

    def _save(self) -> None:
        on_gpu = self._device.type == "cuda"
        state = {
            "objective": self._objective.state_dict(),
            "average": self._average.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "place": [self.step, self._epoch, self._number, self.tokens],
            "seconds": self.seconds,
            "random": torch.get_rng_state(),
            "cuda_random": torch.cuda.get_rng_state(self._device) if on_gpu else None,
        }
        partial = self._folder / f"{STATE_FILE}.partial"
        torch.save(state, partial)
        partial.rename(self._folder / STATE_FILE)

    def _resume(self) -> None:
        path = self._folder / STATE_FILE
        state = torch.load(path, map_location=self._device, weights_only=True)
        self._objective.load_state_dict(state["objective"])
        self._average.load_state_dict(state["average"])
        self._optimizer.load_state_dict(state["optimizer"])
        self.step, self._epoch, self._number, self.tokens = state["place"]
        self._seconds_before = state["seconds"]
        self._started = time.monotonic()
        self._last_log = (self.step, self.tokens, self.seconds)
        torch.set_rng_state(state["random"].cpu())
        if state["cuda_random"] is not None:
            torch.cuda.set_rng_state(state["cuda_random"].cpu(), self._device)
        _LOG.info("resumed at step %d", self.step)


class _Decay:
    """The update of a moving average, which follows faster while there are few steps."""

    def __init__(self, decay: float) -> None:
        self._decay = decay

    @torch.no_grad()
    def __call__(self, average: Sequence[Tensor], current: Sequence[Tensor], n: Any) -> None:
        share = 1.0 - min(self._decay, (1.0 + float(n)) / (10.0 + float(n)))
        for kept, new in zip(average, current, strict=True):
            kept.lerp_(new, share)


def _new_optimizer(
    objective: nn.Module, options: LoopOptions, device: torch.device
) -> torch.optim.Optimizer:
    weights = [weight for weight in objective.parameters() if weight.requires_grad]
    if options.optimizer == "adafactor":
        return Adafactor(weights, lr=options.learning_rate)
    groups = [
        {"params": [w for w in weights if w.dim() > 1], "weight_decay": options.weight_decay},
        {"params": [w for w in weights if w.dim() < 2], "weight_decay": 0.0},
    ]
    rate = options.learning_rate
    return torch.optim.AdamW(groups, rate, (0.9, 0.98), fused=device.type == "cuda")
