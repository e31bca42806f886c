"""What a training starts from: config, tokenizer, weights and teacher."""

from __future__ import annotations

import argparse
import json
import logging
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from finetune.distillation import Teacher, copy_weights
from finetune.piece_vectors import piece_vectors
from finetune.task import Task
from terraformer.build import Model
from terraformer.checkpoint import TOKENIZER_FILE, find_checkpoint, load_model
from terraformer.config import ModelConfig, TerraformerConfig, model_config_from_dict
from terraformer.errors import CheckpointError, TerraformerError
from terraformer.preset import preset, preset_names
from terraformer.tokenizer import Tokenizer

_LOG = logging.getLogger(__name__)


def choose_config(arguments: argparse.Namespace, task: Task, vocab_size: int) -> ModelConfig:
    """Returns the config that the command line asks for.

    Args:
        arguments: Of the command line.
        task: What the model is trained for.
        vocab_size: Pieces of the tokenizer; a preset takes them over.
    Raises:
        TerraformerError: if there is none, or it is not of the task's and the tokenizer's kind.
    """
    try:
        if arguments.preset:
            config = replace(preset(arguments.preset), vocab_size=vocab_size)
        elif arguments.config:
            values = json.loads(arguments.config.read_text())
            config = model_config_from_dict({"type": task.config_type.__name__, **values})
        elif arguments.init:
            config = load_model(arguments.init)[0].config
        elif task.config_type is TerraformerConfig:
            config = TerraformerConfig(vocab_size=vocab_size)
        else:
            raise TerraformerError(
                f"--task {arguments.task} needs a model: give --preset, --config or --init "
                f"(presets: {', '.join(preset_names())})"
            )
    except (ValueError, TypeError) as error:
        raise TerraformerError(f"the model's configuration cannot be used: {error}") from error
    if not isinstance(config, task.config_type):
        raise TerraformerError(
            f"--task {arguments.task} trains a {task.config_type.__name__}, "
            f"not a {type(config).__name__}"
        )
    if config.vocab_size != vocab_size:
        raise TerraformerError(
            f"the tokenizer has {vocab_size} pieces, the model's configuration says "
            f"{config.vocab_size}"
        )
    return config


def find_tokenizer(arguments: argparse.Namespace) -> Path:
    """Returns the tokenizer named, or that of the checkpoint to start from, or the shipped one."""
    return arguments.tokenizer or find_checkpoint(arguments.init) / TOKENIZER_FILE


def load_teacher(arguments: argparse.Namespace, model: Model, tokenizer_path: Path) -> Teacher:
    """Loads the teacher of `model`.

    Raises:
        CheckpointError: if it is of another kind, or has another tokenizer.
    """
    folder = find_checkpoint(arguments.teacher)
    teacher, _ = load_model(folder)
    if type(teacher) is not type(model):
        raise CheckpointError(
            f"the teacher in {folder} is a {type(teacher).__name__}, the student a "
            f"{type(model).__name__}"
        )
    if (folder / TOKENIZER_FILE).read_bytes() != tokenizer_path.read_bytes():
        raise CheckpointError(
            f"the tokenizer of the teacher in {folder} is not the student's: give it with "
            f"--tokenizer {folder / TOKENIZER_FILE}"
        )
    try:
        return Teacher(teacher, arguments.teacher_weight, arguments.temperature)
    except ValueError as error:
        raise TerraformerError(f"the teacher's {error}") from error


def start_weights(model: Model, source: Model, name: str) -> None:
    """Copies what fits from `source` into `model`.

    Raises:
        CheckpointError: if nothing does.
    """
    n_copied, n_all = copy_weights(source, model), len(model.state_dict())
    if not n_copied:
        raise CheckpointError(f"no weight of {name} fits the model's configuration")
    _LOG.info("%d of %d weights start from %s", n_copied, n_all, name)


def start_vectors(model: Model, tokenizer_path: Path, encoder: str) -> None:
    """Sets the embeddings of `model` to what a pretrained encoder makes of each piece.

    Raises:
        TerraformerError: if the encoder cannot be read, or is narrower than the embeddings.
    """
    table = next(module for module in model.embedding.modules() if isinstance(module, nn.Embedding))
    vectors = piece_vectors(Tokenizer(tokenizer_path), encoder, table.embedding_dim)
    with torch.no_grad():
        table.weight.copy_(torch.from_numpy(vectors))
    _LOG.info("the embeddings of %d pieces start from %s", len(vectors), encoder)
