"""Trains the extractor: `python -m finetune.train`.

Prepares the papers where that has not been done (see `finetune.prepare`), trains with Hugging
Face's Trainer, resumed where the output folder holds a checkpoint, and writes a checkpoint folder
that `Summarizer.load` takes. Several processes, on CPU cores or GPUs, are started as
`torchrun --nproc-per-node N -m finetune.train …`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset, load_dataset
from numpy.typing import NDArray
from pyarrow import compute
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from transformers import Trainer, TrainerCallback, TrainingArguments, set_seed
from transformers.trainer_utils import get_last_checkpoint

from finetune.command import exit_status
from finetune.objectives import ExtractCollator, ExtractObjective
from finetune.prepare import prepare_missing
from terraformer.checkpoint import TOKENIZER_FILE, find_checkpoint, save_checkpoint
from terraformer.config import TerraformerConfig
from terraformer.errors import DataError
from terraformer.model import Terraformer
from terraformer.tokenizer import Tokenizer

AVERAGE_FILE = "average.pt"


class WeightAverage(TrainerCallback):
    """Keeps an exponential moving average of the weights, saved and resumed with the run."""

    def __init__(self, model: torch.nn.Module, decay: float) -> None:
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


def load_examples(
    path: Path, *, limit: int | None = None, max_tokens: int | None = None
) -> Dataset:
    """Loads prepared examples, without those that have no episode.

    Args:
        path: A Parquet file of `finetune.prepare`.
        limit: Only the first examples.
        max_tokens: Leave out documents longer than this; None keeps all.
    Raises:
        DataError: if the file is missing.
    """
    if not path.exists():
        raise DataError(f"no examples at {path}: make them with `python -m finetune.prepare`")
    examples = load_dataset("parquet", data_files=str(path), split="train")
    n_tokens = _lengths(examples, "ids")
    n_episodes = _lengths(examples, "episodes")
    keep = n_episodes > 0
    if max_tokens is not None:
        keep &= n_tokens <= max_tokens
    examples = examples.add_column("n_tokens", n_tokens.tolist())
    return examples.select(np.flatnonzero(keep)[:limit]).with_format("numpy")


def _lengths(examples: Dataset, column: str) -> NDArray[np.int32]:
    """Returns the length of each row's list in `column`, [rows]."""
    return compute.call_function("list_value_length", [examples.data.column(column)]).to_numpy()


def training_arguments(arguments: argparse.Namespace) -> TrainingArguments:
    """Returns what the Trainer needs to know of the command line."""
    on_gpu = torch.cuda.is_available()
    launched = "LOCAL_RANK" in os.environ  # as one of several processes
    return TrainingArguments(
        output_dir=str(arguments.output / "trainer"),
        num_train_epochs=arguments.epochs,
        per_device_train_batch_size=arguments.batch_size,
        per_device_eval_batch_size=arguments.batch_size,
        learning_rate=arguments.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=arguments.warmup_steps,
        weight_decay=0.01,
        max_grad_norm=1.0,
        bf16=arguments.bf16,
        train_sampling_strategy="group_by_length",
        length_column_name="n_tokens",
        logging_steps=50,
        eval_strategy="steps",
        eval_steps=arguments.save_steps,
        save_steps=arguments.save_steps,
        save_total_limit=2,
        prediction_loss_only=True,
        remove_unused_columns=False,
        label_names=["next_pick"],
        dataloader_pin_memory=on_gpu,
        use_cpu=not on_gpu,
        ddp_find_unused_parameters=False,
        ddp_backend="gloo" if launched and not on_gpu else None,
        seed=arguments.seed,
        data_seed=arguments.seed,
        report_to=[],
        disable_tqdm=arguments.quiet,
    )


def train(arguments: argparse.Namespace) -> Path:
    """Runs the training that the command line asks for and returns the checkpoint's folder."""
    set_seed(arguments.seed)
    torch.set_num_threads(arguments.threads)
    tokenizer_path = arguments.tokenizer or find_checkpoint() / TOKENIZER_FILE
    config = TerraformerConfig(vocab_size=Tokenizer(tokenizer_path).vocab_size)
    if arguments.config:
        config = TerraformerConfig.from_dict(json.loads(arguments.config.read_text()))
    training = training_arguments(arguments)
    # A trial keeps its papers apart, so that a full run never takes its few for all.
    examples = arguments.examples
    if arguments.limit:
        examples = examples / f"first-{arguments.limit}"
    with training.main_process_first(desc="preparing papers"):
        prepare_missing(examples, tokenizer_path, arguments.data, limit=arguments.limit)
    model = Terraformer(config)
    for stack in (model.token_encoder, model.sentence_encoder, model.decoder):
        stack.sequence.recompute = arguments.recompute
    objective = ExtractObjective(model)
    average = WeightAverage(objective, arguments.average_decay)
    trainer = Trainer(
        model=objective,
        args=training,
        data_collator=ExtractCollator(config.n_features, arguments.seed),
        train_dataset=load_examples(examples / "train.parquet", max_tokens=arguments.max_tokens),
        eval_dataset=load_examples(examples / "validation.parquet", limit=200),
        callbacks=[average],
    )
    folder = str(training.output_dir)
    last = get_last_checkpoint(folder) if Path(folder).exists() else None
    if last:
        average.resume(last)
    trainer.train(resume_from_checkpoint=last)
    if trainer.is_world_process_zero():
        objective.load_state_dict(average.average.module.state_dict())
        save_checkpoint(arguments.output, model, tokenizer_path)
        history = arguments.output / "history.json"
        history.write_text(json.dumps(trainer.state.log_history, indent=1))
    return arguments.output


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", help="folder of Parquet files (default: TERRAFORMER_DATA)")
    parser.add_argument(
        "--examples",
        type=Path,
        default=Path("runs/examples"),
        help="where prepared papers are kept (default: runs/examples)",
    )
    parser.add_argument(
        "--tokenizer", type=Path, help="sentencepiece model (default: the one that ships)"
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("runs/extract"),
        help="checkpoint folder to write (default: runs/extract)",
    )
    parser.add_argument("--config", type=Path, help="JSON of a TerraformerConfig")
    parser.add_argument("--epochs", type=float, default=1.0)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--warmup-steps", type=int, default=200)
    parser.add_argument("--average-decay", type=float, default=0.998)
    parser.add_argument("--save-steps", type=int, default=500)
    parser.add_argument(
        "--limit", type=int, help="only the first papers of each split, for a trial"
    )
    parser.add_argument("--max-tokens", type=int, help="leave out longer training documents")
    parser.add_argument(
        "--recompute", action="store_true", help="recompute activations: less memory"
    )
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    arguments = parser.parse_args()
    return exit_status("finetune.train", lambda: train(arguments))


if __name__ == "__main__":
    sys.exit(main())
