"""Trains on a machine with a GPU, a limit of time and no network: `python -m finetune.gpu`.

Papers are carried there as token shards and weights come back in parts; nothing is needed there but
torch, numpy, pyarrow, sentencepiece and safetensors. CONTRIBUTING.md tells the whole sequence.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from finetune.command import exit_status
from finetune.gpu import job, transfer
from finetune.gpu.probe import probe
from finetune.gpu.recipe import Recipe
from finetune.gpu.run import RunOptions, default_workers, last_checkpoint, new_device, train
from finetune.gpu.writer import write_abstracts
from terraformer.errors import TerraformerError


def _unpack(options: argparse.Namespace) -> None:
    shards = transfer.unpack(options.folders, options.output)
    for form in ("articles", "extract"):
        here = [shard for shard in shards if shard.form == form]
        papers, tokens = sum(s.n_papers for s in here), sum(s.n_tokens for s in here)
        print(f"{form}: {len(here)} shards, {papers} papers, {tokens / 1e6:.1f} million tokens")


def _run_options(options: argparse.Namespace) -> RunOptions:
    if (options.minutes is None) == (options.steps is None):
        raise TerraformerError("give --minutes for all phases together, or --steps for each")
    return RunOptions(
        options.data,
        options.output,
        options.minutes,
        options.steps,
        options.init,
        options.batch_tokens,
        options.workers,
        options.seed,
    )


def _start(options: argparse.Namespace) -> None:
    _run_options(options)
    Recipe.load(options.recipe)
    words = [options.recipe]
    for name in ("data", "output", "minutes", "steps", "init", "batch_tokens", "workers", "seed"):
        value = getattr(options, name)
        if value is not None:
            words += [f"--{name.replace('_', '-')}", str(value)]
    process = job.start(options.output, words)
    job.wait(options.output, options.watch)
    print(f"process {process} works in {options.output}")


def _train(options: argparse.Namespace) -> None:
    status = 1
    try:
        checkpoint = train(Recipe.load(options.recipe), _run_options(options))
        print(f"trained: {checkpoint}")
        status = 0
    finally:
        options.output.mkdir(parents=True, exist_ok=True)
        (options.output / job.EXIT_FILE).write_text(f"{status}\n")


def _status(options: argparse.Namespace) -> None:
    job.wait(options.output, options.wait)
    if options.tail:
        print(job.tail(options.output, options.tail))


def _probe(options: argparse.Namespace) -> None:
    for name in options.recipes:
        for line in probe(
            Recipe.load(name), options.data, new_device(), options.batch_tokens, options.steps
        ):
            print(json.dumps({"recipe": name, **line}), flush=True)


def _evaluate(options: argparse.Namespace) -> None:
    options.file.parent.mkdir(parents=True, exist_ok=True)
    with options.file.open("w", encoding="utf-8") as file:
        for row in write_abstracts(
            last_checkpoint(options.output),
            options.data,
            new_device(),
            n_papers=options.papers,
            batch_tokens=options.batch_tokens,
            max_tokens=options.max_tokens,
        ):
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            file.flush()


def _collect(options: argparse.Namespace) -> None:
    n_calls = transfer.collect(
        options.output, options.into, options.call, options.part_mib, options.parts
    )
    print(f"call {options.call} of {n_calls}")


def _join(options: argparse.Namespace) -> None:
    transfer.join(options.folders, options.output)


def command_line() -> argparse.ArgumentParser:
    """Returns the parser of the command."""
    parser = argparse.ArgumentParser(
        prog="python -m finetune.gpu",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(dest="verb", required=True)

    def verb(name: str, action: object, text: str) -> argparse.ArgumentParser:
        added = verbs.add_parser(name, help=text, description=text)
        added.set_defaults(action=action)
        return added

    part = verb("unpack", _unpack, "decompresses folders of finetune.pack into one")
    part.add_argument("folders", type=Path, nargs="+")
    part.add_argument("output", type=Path)

    part = verb("probe", _probe, "measures a few steps of recipes: speed and memory")
    part.add_argument("recipes", nargs="+", metavar="RECIPE")
    part.add_argument("--data", type=Path, required=True, help="folder of unpacked shards")
    part.add_argument("--batch-tokens", type=int, nargs="+", default=[16384, 32768, 65536])
    part.add_argument("--steps", type=int, default=8)

    for name, action, text in (
        ("start", _start, "trains a recipe in a process of its own, which outlives this command"),
        ("train", _train, "trains a recipe here and now, or goes on with it"),
    ):
        part = verb(name, action, text)
        part.add_argument("recipe", help="name of a shipped recipe, or a JSON file")
        part.add_argument("--data", type=Path, required=True, help="folder of unpacked shards")
        part.add_argument("--output", type=Path, required=True, help="folder of the run")
        part.add_argument("--minutes", type=float, help="time for all phases together")
        part.add_argument("--steps", type=int, help="steps of each phase, where no time is given")
        part.add_argument("--init", metavar="NAME_OR_FOLDER", help="checkpoint to start from")
        part.add_argument("--batch-tokens", type=int, help="in place of the recipe's")
        part.add_argument("--workers", type=int, default=default_workers())
        part.add_argument("--seed", type=int, default=0)
        if name == "start":
            part.add_argument(
                "--watch", type=float, default=20, help="seconds to watch it (default: 20)"
            )

    part = verb("status", _status, "tells how a run stands")
    part.add_argument("output", type=Path, help="folder of the run")
    part.add_argument("--wait", type=float, default=0, help="seconds to watch it, to its end")
    part.add_argument("--tail", type=int, default=0, help="lines of what it printed")

    part = verb("evaluate", _evaluate, "writes abstracts of validation papers, greedily")
    part.add_argument("output", type=Path, help="folder of the run")
    part.add_argument("file", type=Path, help="JSON lines to write")
    part.add_argument("--data", type=Path, required=True, help="folder of unpacked shards")
    part.add_argument("--papers", type=int, default=200)
    part.add_argument("--batch-tokens", type=int, default=262144, help="(default: %(default)s)")
    part.add_argument("--max-tokens", type=int, default=512, help="(default: %(default)s)")

    part = verb("collect", _collect, "writes the weights in parts, in bfloat16")
    part.add_argument("output", type=Path, help="folder of the run")
    part.add_argument("into", type=Path, help="folder that goes back")
    part.add_argument("--call", type=int, default=1, help="which parts, from 1 (default: 1)")
    part.add_argument("--part-mib", type=float, default=15, help="(default: %(default)s)")
    part.add_argument("--parts", type=int, default=4, help="of a call (default: %(default)s)")

    part = verb("join", _join, "makes a checkpoint of the parts that came back")
    part.add_argument("folders", type=Path, nargs="+")
    part.add_argument("output", type=Path)
    return parser


def main(words: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status; `words` replace those of the process."""
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("finetune").setLevel(logging.INFO)
    options = command_line().parse_args(words)
    return exit_status("finetune.gpu", lambda: options.action(options))


if __name__ == "__main__":
    sys.exit(main())
