"""Shards on their way to another machine, and weights on their way back."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from hashlib import sha256 as new_sha256
from pathlib import Path
from typing import Any

import torch

from finetune.gpu.run import last_checkpoint
from finetune.loop import LOG_FILE
from finetune.shards import MANIFEST_FILE, Manifest, Shard, read_arrays, sha256, write_arrays
from terraformer.checkpoint import (
    CONFIG_FILE,
    TOKENIZER_FILE,
    WEIGHTS_FILE,
    load_model,
    save_checkpoint,
)
from terraformer.errors import CheckpointError, DataError

PARTS_FILE = "parts.json"
HISTORY_FILE = "history.json"
_MIB = 2**20
_LOG = logging.getLogger(__name__)


def unpack(folders: Sequence[Path], output: Path) -> list[Shard]:
    """Decompresses the shards of some folders of `finetune.pack` into one.

    Args:
        folders: Of one pack; some now, others later.
        output: Made if it does not exist; what it holds stays.
    Returns:
        All shards that `output` holds.
    Raises:
        DataError: if a file is damaged, or belongs to another pack.
    """
    output.mkdir(parents=True, exist_ok=True)
    jobs: list[tuple[Path, Path, str]] = []
    for folder in folders:
        manifest = Manifest.read(folder)
        if (output / MANIFEST_FILE).exists() and Manifest.read(output) != manifest:
            raise DataError(f"{folder} and {output} are of different packs: give another output")
        if sha256(folder / TOKENIZER_FILE) != manifest.tokenizer_sha256:
            raise DataError(f"{folder / TOKENIZER_FILE} is not the tokenizer of the shards")
        for name in (MANIFEST_FILE, TOKENIZER_FILE):
            shutil.copyfile(folder / name, output / name)
        jobs += [
            (folder / shard.file, output / shard.file, shard.sha256)
            for shard in manifest.shards
            if (folder / shard.file).exists()
        ]
    if not jobs:
        raise DataError(f"no shards in {', '.join(map(str, folders))}")
    with ProcessPoolExecutor(min(len(jobs), os.cpu_count() or 1)) as pool:
        list(pool.map(_unpack_one, jobs))
    return [shard for shard in Manifest.read(output).shards if (output / shard.file).exists()]


def _unpack_one(job: tuple[Path, Path, str]) -> None:
    source, target, digest = job
    if sha256(source) != digest:
        raise DataError(f"{source} is damaged: carry it again")
    partial = target.with_suffix(".partial")
    write_arrays(partial, read_arrays(source), compress=False)
    partial.rename(target)


def collect(run: Path, output: Path, call: int, part_mib: float, parts_a_call: int) -> int:
    """Writes the weights of a run in bfloat16 as parts small enough to be carried.

    Args:
        run: Folder of a run, one phase of which is finished at least.
        output: Folder, made if it does not exist.
        call: Which of the calls this is, from 1; the first one brings all but the weights too.
        part_mib: MiB of a part.
        parts_a_call: Parts that one call may bring.
    Returns:
        How many calls it takes.
    Raises:
        ValueError: if there are not so many.
        CheckpointError: if no phase is finished.
    """
    checkpoint = last_checkpoint(run)
    shrunk = checkpoint / "bfloat16"
    if not (shrunk / WEIGHTS_FILE).exists():
        model, _ = load_model(checkpoint)
        save_checkpoint(shrunk, model, checkpoint / TOKENIZER_FILE, dtype=torch.bfloat16)
    weights = (shrunk / WEIGHTS_FILE).read_bytes()
    size = int(part_mib * _MIB)
    n_parts = -(-len(weights) // size)
    n_calls = -(-n_parts // parts_a_call)
    if not 1 <= call <= n_calls:
        raise ValueError(f"call ({call}) must be between 1 and {n_calls}")
    output.mkdir(parents=True, exist_ok=True)
    for part in range((call - 1) * parts_a_call, min(n_parts, call * parts_a_call)):
        path = output / f"weights-{part:03d}.part"
        path.write_bytes(weights[part * size : (part + 1) * size])
    if call == 1:
        values: dict[str, Any] = {
            "n_parts": n_parts,
            "sha256": new_sha256(weights).hexdigest(),
            "config": json.loads((shrunk / CONFIG_FILE).read_text()),
            "history": {
                log.parent.name: [json.loads(line) for line in log.read_text().splitlines()]
                for log in sorted(run.glob(f"*/{LOG_FILE}"))
            },
        }
        (output / PARTS_FILE).write_text(json.dumps(values, indent=1) + "\n")
        shutil.copyfile(checkpoint / TOKENIZER_FILE, output / TOKENIZER_FILE)
    return n_calls


def join(folders: Sequence[Path], output: Path) -> None:
    """Makes a checkpoint of what `collect` brought.

    Args:
        folders: With parts, in any order; one of them has the config.
        output: The checkpoint's folder, made if it does not exist.
    Raises:
        CheckpointError: if parts are missing or damaged.
    """
    described = [folder for folder in folders if (folder / PARTS_FILE).exists()]
    if not described:
        raise CheckpointError(
            f"no {PARTS_FILE} in {', '.join(map(str, folders))}: collect brings it first"
        )
    values = json.loads((described[0] / PARTS_FILE).read_text())
    found = {path.name: path for folder in folders for path in folder.glob("weights-*.part")}
    names = [f"weights-{part:03d}.part" for part in range(values["n_parts"])]
    missing = [name for name in names if name not in found]
    if missing:
        raise CheckpointError(f"missing of {len(names)} parts: {', '.join(missing)}")
    weights = b"".join(found[name].read_bytes() for name in names)
    if new_sha256(weights).hexdigest() != values["sha256"]:
        raise CheckpointError("the parts are not the weights that were sent: collect them again")
    output.mkdir(parents=True, exist_ok=True)
    (output / WEIGHTS_FILE).write_bytes(weights)
    (output / CONFIG_FILE).write_text(json.dumps(values["config"], indent=2) + "\n")
    (output / HISTORY_FILE).write_text(json.dumps(values["history"], indent=1) + "\n")
    shutil.copyfile(described[0] / TOKENIZER_FILE, output / TOKENIZER_FILE)
    load_model(output)
    _LOG.info("%s: %.1f MiB of weights", output, len(weights) / _MIB)
