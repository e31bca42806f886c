"""Trains a model: `python -m finetune.train --task TASK`.

Tasks: "extract" picks sentences, "sentence-order" pretrains for it; "language-model" foresees
tokens; "span-corruption" and "gap-sentences" pretrain an encoder and decoder, "abstract" teaches it
to write abstracts of whole papers, "rewrite" of the sentences that the shipped extractor picks.

Prepares the papers where that has not been done (see `finetune.prepare`), trains with Hugging
Face's Trainer, resumed where the output folder holds a checkpoint, and writes a checkpoint folder.
Several processes, on CPU cores or GPUs, are started as
`torchrun --nproc-per-node N -m finetune.train …`.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from pathlib import Path
from typing import get_args

import torch
from transformers import TrainingArguments, set_seed
from transformers.trainer_utils import get_last_checkpoint

from finetune.command import exit_status
from finetune.gap_sentences import GAP_SHARE, GapStrategy
from finetune.start import (
    choose_config,
    find_tokenizer,
    load_teacher,
    start_vectors,
    start_weights,
)
from finetune.task import TASKS, Task
from finetune.trainer import FamilyTrainer, NewDraws, Schedule, WeightAverage
from finetune.training_data import DataOptions
from finetune.window import MIN_WINDOW
from terraformer.build import build_model
from terraformer.checkpoint import load_model, save_checkpoint
from terraformer.errors import TerraformerError
from terraformer.reversible import ReversibleSequence
from terraformer.tokenizer import Tokenizer


def training_arguments(arguments: argparse.Namespace, task: Task) -> TrainingArguments:
    """Returns what the Trainer needs to know of the command line."""
    on_gpu = torch.cuda.is_available()
    launched = "LOCAL_RANK" in os.environ  # as one of several processes
    adafactor = arguments.optimizer == "adafactor"
    # The published training: a rate of 0.01 for 10 000 steps.
    rate, warmup_steps = (0.01, 10_000) if adafactor else (1e-3, 200)
    return TrainingArguments(
        output_dir=str(arguments.output / "trainer"),
        num_train_epochs=arguments.epochs,
        max_steps=arguments.max_steps,
        per_device_train_batch_size=arguments.batch_size,
        per_device_eval_batch_size=arguments.batch_size,
        gradient_accumulation_steps=arguments.accumulate,
        learning_rate=rate if arguments.learning_rate is None else arguments.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=warmup_steps if arguments.warmup_steps is None else arguments.warmup_steps,
        weight_decay=0.01,
        max_grad_norm=1.0,
        bf16=arguments.bf16,
        train_sampling_strategy=task.sampling,
        length_column_name="n_tokens",
        logging_steps=50,
        eval_strategy="steps",
        eval_steps=arguments.save_steps,
        save_steps=arguments.save_steps,
        save_total_limit=2,
        prediction_loss_only=True,
        remove_unused_columns=False,
        label_names=[task.target_name],
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
    if torch.cuda.device_count() > 1 and "LOCAL_RANK" not in os.environ:
        raise TerraformerError(
            "several GPUs need a process each: start `torchrun --nproc-per-node N -m "
            "finetune.train …`, or show it one with CUDA_VISIBLE_DEVICES=0"
        )
    set_seed(arguments.seed)
    torch.set_num_threads(arguments.threads)
    task = TASKS[arguments.task](
        DataOptions(
            examples=arguments.examples,
            limit=arguments.limit,
            max_tokens=arguments.max_tokens,
            window=arguments.window,
            gap_share=arguments.gap_share,
            gap_strategy=arguments.gap_strategy,
            seed=arguments.seed,
        )
    )
    tokenizer_path = find_tokenizer(arguments)
    config = choose_config(arguments, task, Tokenizer(tokenizer_path).vocab_size)
    training = training_arguments(arguments, task)
    with training.main_process_first(desc="preparing papers"):
        task.prepare(tokenizer_path, arguments.data)
    data = task.load(config)
    try:
        model = build_model(config)
    except ValueError as error:
        raise TerraformerError(f"the model of --config or --preset: {error}") from error
    for module in model.modules():
        if isinstance(module, ReversibleSequence):
            module.recompute = arguments.recompute
    teacher = None
    if arguments.teacher:
        teacher = load_teacher(arguments, model, tokenizer_path)
        start_weights(model, teacher.model, arguments.teacher)
    if arguments.init:
        start_weights(model, load_model(arguments.init)[0], arguments.init)
    if arguments.vectors:
        start_vectors(model, tokenizer_path, arguments.vectors)
    objective = task.objective(model)
    average = WeightAverage(objective, arguments.average_decay)
    trainer = FamilyTrainer(
        teacher=teacher,
        optimizer=arguments.optimizer,
        schedule=arguments.schedule
        or ("rsqrt-flat" if arguments.optimizer == "adafactor" else "cosine"),
        model=objective,
        args=training,
        data_collator=data.collate,
        train_dataset=data.train,
        eval_dataset=data.validation,
        callbacks=[average, *([NewDraws(data.draws)] if data.draws else [])],
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


def command_line() -> argparse.ArgumentParser:
    """Returns the parser of the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--task", choices=TASKS, default="extract", help="(default: extract)")
    add("--data", help="folder of Parquet files (default: TERRAFORMER_DATA)")
    add(
        "--examples",
        type=Path,
        default=Path("runs/examples"),
        help="where prepared papers are kept (default: runs/examples)",
    )
    add("--tokenizer", type=Path, help="sentencepiece model (default: that of --init, or shipped)")
    add("--output", type=Path, help="checkpoint folder to write (default: runs/TASK)")

    model = parser.add_argument_group("model")
    size = model.add_mutually_exclusive_group()
    size.add_argument("--preset", metavar="NAME", help="a published size, such as terraformer-800m")
    size.add_argument("--config", type=Path, help="JSON of a model's config")
    model.add_argument("--init", metavar="NAME_OR_FOLDER", help="checkpoint to start from")
    model.add_argument(
        "--vectors",
        metavar="FOLDER_OR_HUB_ID",
        help="encoder of transformers from whose reading of each piece the embeddings start",
    )
    model.add_argument(
        "--recompute", action="store_true", help="recompute activations: less memory"
    )

    teacher = parser.add_argument_group("teacher")
    teacher.add_argument(
        "--teacher", metavar="NAME_OR_FOLDER", help="checkpoint to learn from beside the data"
    )
    teacher.add_argument(
        "--teacher-weight", type=float, default=0.25, help="its share of the loss (default: 0.25)"
    )
    teacher.add_argument(
        "--temperature", type=float, default=1.0, help="softens its distributions (default: 1)"
    )

    text = parser.add_argument_group("data")
    text.add_argument("--limit", type=int, help="only the first papers of each split, for a trial")
    text.add_argument("--max-tokens", type=int, help="leave out longer training documents")
    text.add_argument(
        "--window",
        type=int,
        default=512,
        help="tokens seen at once where documents are not seen whole (default: 512)",
    )
    text.add_argument(
        "--gap-share", type=float, default=GAP_SHARE, help=f"of sentences (default: {GAP_SHARE})"
    )
    text.add_argument("--gap-strategy", choices=get_args(GapStrategy), default="principal")

    steps = parser.add_argument_group("steps")
    steps.add_argument("--epochs", type=float, default=1.0)
    steps.add_argument("--max-steps", type=int, default=-1, help="end after so many steps")
    steps.add_argument("--batch-size", type=int, default=4)
    steps.add_argument("--accumulate", type=int, default=1, help="batches a step (default: 1)")
    steps.add_argument("--optimizer", choices=("adamw", "adafactor"), default="adamw")
    steps.add_argument(
        "--schedule",
        choices=get_args(Schedule),
        help="of the rate (default: cosine with adamw, rsqrt-flat with adafactor)",
    )
    steps.add_argument(
        "--learning-rate", type=float, help="the highest (default: 1e-3, 0.01 with adafactor)"
    )
    steps.add_argument("--warmup-steps", type=int, help="(default: 200, 10000 with adafactor)")
    steps.add_argument("--average-decay", type=float, default=0.998)
    steps.add_argument("--save-steps", type=int, default=500)
    steps.add_argument("--bf16", action="store_true")
    steps.add_argument("--threads", type=int, default=2)
    steps.add_argument("--seed", type=int, default=0)
    steps.add_argument("--quiet", action="store_true", help="no progress bar")
    return parser


def main() -> int:
    logging.basicConfig(format="%(message)s")
    is_main = os.environ.get("LOCAL_RANK", "0") == "0"
    logging.getLogger("finetune").setLevel(logging.INFO if is_main else logging.ERROR)
    parser = command_line()
    arguments = parser.parse_args()
    if arguments.window < MIN_WINDOW:
        parser.error(f"--window ({arguments.window}) must be at least {MIN_WINDOW}")
    if arguments.output is None:
        arguments.output = Path("runs") / arguments.task
    return exit_status("finetune.train", lambda: train(arguments))


if __name__ == "__main__":
    sys.exit(main())
