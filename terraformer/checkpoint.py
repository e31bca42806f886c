"""A checkpoint is a folder: config.json, model.safetensors, tokenizer.model, README.md."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from textwrap import shorten

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from terraformer.build import Model, build_model
from terraformer.config import EncoderDecoderConfig, model_config_from_dict
from terraformer.errors import CheckpointError
from terraformer.model import Terraformer
from terraformer.tokenizer import Tokenizer

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
TOKENIZER_FILE = "tokenizer.model"
PRETRAINED = Path(__file__).parent / "pretrained"
DEFAULT_NAME = "extract-small"


def find_checkpoint(name_or_folder: str | Path | None = None) -> Path:
    """Returns the folder of a checkpoint.

    Args:
        name_or_folder: A folder, the name of a shipped checkpoint, or a Hub id such as
            "user/model", looked for in this order; None is the default shipped checkpoint.
    Raises:
        CheckpointError: if there is none, naming the shipped ones.
    """
    name = DEFAULT_NAME if name_or_folder is None else name_or_folder
    for folder in (Path(name), PRETRAINED / str(name)):
        if (folder / CONFIG_FILE).is_file():
            return folder
    if isinstance(name, str) and name.count("/") == 1 and not name.startswith((".", "/")):
        return _download(name)
    shipped = ", ".join(sorted(path.parent.name for path in PRETRAINED.glob(f"*/{CONFIG_FILE}")))
    ways = f"a folder that holds {CONFIG_FILE}, a Hub id"
    raise CheckpointError(
        f"no checkpoint {str(name)!r}: give "
        + (f"{ways}, or a shipped one ({shipped})" if shipped else f"{ways.replace(', ', ' or ')}")
    )


def find_writer() -> Path | None:
    """Returns the folder of the shipped checkpoint that writes, None if none is shipped."""
    for path in sorted(PRETRAINED.glob(f"*/{CONFIG_FILE}")):
        if json.loads(path.read_text()).get("type") == EncoderDecoderConfig.__name__:
            return path.parent
    return None


def _download(hub_id: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return Path(
            snapshot_download(
                hub_id, allow_patterns=[CONFIG_FILE, WEIGHTS_FILE, TOKENIZER_FILE, "README.md"]
            )
        )
    except (OSError, ValueError, HfHubHTTPError) as error:
        raise CheckpointError(
            f"no folder {hub_id!r}, and the Hub did not answer for that id "
            f"({type(error).__name__}): give a folder, or connect to the internet"
        ) from error


def load_checkpoint(name_or_folder: str | Path | None = None) -> tuple[Terraformer, Tokenizer]:
    """Loads a model that picks sentences, ready for inference, and its tokenizer.

    Raises:
        CheckpointError: if a file is missing or does not belong to the others, or the model is
            of another kind.
    """
    folder = find_checkpoint(name_or_folder)
    model, tokenizer = load_model(folder)
    if not isinstance(model, Terraformer):
        raise CheckpointError(
            f"the checkpoint in {folder} is a {type(model).__name__}, which does not pick "
            "sentences: give one that finetune.train made with --task extract"
        )
    return model, tokenizer


def load_model(name_or_folder: str | Path | None = None) -> tuple[Model, Tokenizer]:
    """Loads a model of any kind, ready for inference, and its tokenizer.

    Raises:
        CheckpointError: if a file is missing or does not belong to the others.
    """
    folder = find_checkpoint(name_or_folder)
    try:
        values = json.loads((folder / CONFIG_FILE).read_text())
        model = build_model(model_config_from_dict(values))
        weights = load_file(folder / WEIGHTS_FILE)
    except (OSError, ValueError, TypeError, SafetensorError) as error:
        raise CheckpointError(f"the checkpoint in {folder} cannot be read: {error}") from error
    try:
        model.load_state_dict({name: weight.float() for name, weight in weights.items()})
    except RuntimeError as error:
        raise CheckpointError(
            f"the weights in {folder} do not fit its {CONFIG_FILE}: "
            + shorten(str(error).splitlines()[-1], 200)
        ) from error
    tokenizer = Tokenizer(folder / TOKENIZER_FILE)
    if tokenizer.vocab_size != model.config.vocab_size:
        raise CheckpointError(
            f"the tokenizer in {folder} has {tokenizer.vocab_size} pieces, "
            f"its {CONFIG_FILE} says {model.config.vocab_size}"
        )
    return model.eval(), tokenizer


def save_checkpoint(
    folder: str | Path,
    model: Model,
    tokenizer_path: str | Path,
    *,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Writes a checkpoint's config, weights and tokenizer; the model card is written by hand.

    Args:
        folder: Made if it does not exist.
        model: The model.
        tokenizer_path: Its sentencepiece model.
        dtype: In which the weights are stored; they are float32 again once loaded.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG_FILE).write_text(json.dumps(model.config.to_dict(), indent=2) + "\n")
    save_file(
        {name: value.detach().to(dtype).contiguous() for name, value in model.state_dict().items()},
        folder / WEIGHTS_FILE,
    )
    if Path(tokenizer_path).resolve() != (folder / TOKENIZER_FILE).resolve():
        shutil.copyfile(tokenizer_path, folder / TOKENIZER_FILE)
