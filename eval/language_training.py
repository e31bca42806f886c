"""Language models trained side by side, on the same windows in the same order."""

from __future__ import annotations

import json
import multiprocessing
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Subset
from tqdm import tqdm
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments, set_seed
from transformers.trainer_utils import get_last_checkpoint

from eval.corpus import Windows, load_tokens
from finetune.token_objective import TokenObjective, collate_windows
from terraformer.config import LanguageModelConfig
from terraformer.errors import DataError
from terraformer.language_model import LanguageModel


@dataclass(frozen=True)
class TrainingSettings:
    """How each of the models is trained.

    The learning rate rises linearly, stays, and over the last `decay` of the steps falls linearly
    to 0, so that a longer run begins as a shorter one.

    Attributes:
        n_tokens: To train on, each seen once.
        evaluation_tokens: Trained on from one validation to the next.
        length: Tokens of a window, L.
        batch_size: Windows of a step.
        learning_rate: At its highest.
        warmup_steps: Steps over which it rises.
        decay: Share of the steps over which it falls.
        seed: Of initial weights, noise and the order of windows.
    """

    n_tokens: int
    evaluation_tokens: int = 500_000
    length: int = 256
    batch_size: int = 4
    learning_rate: float = 2e-3
    warmup_steps: int = 200
    decay: float = 0.3
    seed: int = 0

    @property
    def tokens_of_step(self) -> int:
        return self.length * self.batch_size

    @property
    def interval(self) -> int:
        """Steps from one validation to the next."""
        return max(1, self.evaluation_tokens // self.tokens_of_step)

    @property
    def n_steps(self) -> int:
        """Whole steps, up to the last validation."""
        return self.n_tokens // self.tokens_of_step // self.interval * self.interval


@dataclass(frozen=True)
class Evaluation:
    """Validation loss at one point of the training.

    Attributes:
        n_tokens: Trained on so far.
        loss: Nats a token.
        seconds: Of training and evaluation so far.
    """

    n_tokens: int
    loss: float
    seconds: float


@dataclass(frozen=True)
class TrainedModel:
    """What became of one model."""

    n_parameters: int
    evaluations: list[Evaluation]


class _Watch(TrainerCallback):
    """Shows progress on stderr, and notes the seconds in the Trainer's log, resumed ones too."""

    def __init__(self, name: str, place: int) -> None:
        self._name = name
        self._place = place

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        before = [entry["seconds"] for entry in state.log_history if "seconds" in entry]
        self._start = time.perf_counter() - (before[-1] if before else 0.0)
        self._progress = tqdm(
            total=state.max_steps,
            initial=state.global_step,
            desc=self._name,
            position=self._place,
            unit="step",
            file=sys.stderr,
        )

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._progress.update()

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        state.log_history[-1]["seconds"] = time.perf_counter() - self._start
        if "eval_loss" in state.log_history[-1]:
            self._progress.set_postfix(loss=f"{state.log_history[-1]['eval_loss']:.4f}")

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._progress.close()


def train_side_by_side(
    configs: dict[str, LanguageModelConfig],
    settings: TrainingSettings,
    corpus: Path,
    folder: Path,
    *,
    n_processes: int = 2,
    n_threads: int = 1,
) -> dict[str, TrainedModel]:
    """Trains each model, in a process of its own, and returns them by name.

    A model that `folder` holds already is not trained again, one that was cut short goes on from
    its last evaluation; `require_same_run` makes sure that they are the ones asked for.

    Args:
        configs: The models, by the name of their folder in `folder`.
        settings: Of all.
        corpus: Folder of `eval.corpus.prepare_corpus`.
        folder: Keeps checkpoints and results.
        n_processes: Models at once.
        n_threads: Threads of each.
    """
    jobs = [
        (name, config, settings, corpus, folder / name, n_threads, place)
        for place, (name, config) in enumerate(configs.items())
    ]
    if n_processes == 1:
        return {job[0]: train_model(*job) for job in jobs}
    # Forked processes would share the locks of the threads that are running here.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(n_processes, mp_context=context) as pool:
        running = {job[0]: pool.submit(train_model, *job) for job in jobs}
        return {name: future.result() for name, future in running.items()}


def require_same_run(
    folder: Path, configs: dict[str, LanguageModelConfig], settings: TrainingSettings
) -> None:
    """Writes to `folder` what runs there, or compares with what ran.

    Raises:
        DataError: if that differs.
    """
    run = {
        "settings": asdict(settings),
        "models": {name: config.to_dict() for name, config in configs.items()},
    }
    text = json.dumps(run, indent=1)
    path = folder / "run.json"
    if path.exists() and path.read_text() != text:
        raise DataError(
            f"{folder} holds models that were trained otherwise (see {path}): "
            "give another --folder, or remove it"
        )
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def train_model(
    name: str,
    config: LanguageModelConfig,
    settings: TrainingSettings,
    corpus: Path,
    folder: Path,
    n_threads: int,
    place: int = 0,
) -> TrainedModel:
    """Trains one model; the arguments are those of `train_side_by_side`, `place` of its bar."""
    results = folder / "results.json"
    if results.exists():
        values = json.loads(results.read_text())
        return TrainedModel(
            values["n_parameters"], [Evaluation(**entry) for entry in values["evaluations"]]
        )
    torch.set_num_threads(n_threads)
    set_seed(settings.seed)
    model = LanguageModel(config)
    windows = Windows(load_tokens(corpus, "train"), settings.length, settings.seed)
    trainer = Trainer(
        model=TokenObjective(model),
        args=_training_arguments(settings, folder),
        data_collator=collate_windows,
        train_dataset=Subset(windows, range(settings.n_steps * settings.batch_size)),
        eval_dataset=Windows(load_tokens(corpus, "validation"), settings.length),
        callbacks=[_Watch(name, place)],
    )
    trainer.remove_callback(PrinterCallback)
    last = get_last_checkpoint(str(folder)) if folder.exists() else None
    trainer.train(resume_from_checkpoint=last)
    trained = TrainedModel(
        sum(weight.numel() for weight in model.parameters()),
        [
            Evaluation(
                int(entry["step"]) * settings.tokens_of_step, entry["eval_loss"], entry["seconds"]
            )
            for entry in trainer.state.log_history
            if "eval_loss" in entry
        ],
    )
    results.write_text(json.dumps(asdict(trained)))
    return trained


def _training_arguments(settings: TrainingSettings, folder: Path) -> TrainingArguments:
    on_gpu = torch.cuda.is_available()
    return TrainingArguments(
        output_dir=str(folder),
        max_steps=settings.n_steps,
        per_device_train_batch_size=settings.batch_size,
        per_device_eval_batch_size=4 * settings.batch_size,
        train_sampling_strategy="sequential",  # Windows have been shuffled
        learning_rate=settings.learning_rate,
        lr_scheduler_type="warmup_stable_decay",
        lr_scheduler_kwargs={
            "num_decay_steps": round(settings.decay * settings.n_steps),
            "decay_type": "linear",
        },
        warmup_steps=settings.warmup_steps,
        adam_beta2=0.98,
        weight_decay=0.0,
        max_grad_norm=1.0,
        logging_strategy="no",
        eval_strategy="steps",
        eval_steps=settings.interval,
        save_steps=settings.interval,
        save_total_limit=1,
        prediction_loss_only=True,
        remove_unused_columns=False,
        label_names=["ids"],
        dataloader_pin_memory=on_gpu,
        use_cpu=not on_gpu,
        seed=settings.seed,
        report_to=[],
        disable_tqdm=True,
    )
