"""Command `python -m eval.memory`: the memory that one training step takes on the CPU."""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
from tqdm import tqdm

from eval.command import positive, positive_list, require_folder_of
from eval.measured_process import Measurement, Refusal, measure
from eval.memory_systems import CHUNK_LEN, STACKS, SYSTEMS, Sizes, prepare_stack, prepare_system
from eval.table import describe_machine, format_rows, write_rows
from finetune.command import exit_status

LAYERS = (2, 6, 12, 24)
_GIB = 2**30
_LEAST_TOKENS = 1024


def measure_layers(
    layers: Sequence[int], kinds: Sequence[str], sizes: Sizes, **limits: Any
) -> list[dict[str, Any]]:
    """Measures a training step of stacks of several depths.

    Args:
        layers: Depths.
        kinds: Of stacks, of `STACKS`.
        sizes: Of all of them, but for the depth.
        limits: Of `measure`.
    Returns:
        One row a kind and depth; `growth` is step_gib relative to the first depth measured.
    """
    rows = []
    for kind in kinds:
        first = None
        for n_layers in tqdm(layers, desc=kind, file=sys.stderr):
            result = measure(prepare_stack, kind, replace(sizes, n_layers=n_layers), **limits)
            growth = None
            if isinstance(result, Measurement):
                first = first or result
                growth = round(result.run_bytes / first.run_bytes, 2)
            row = {"stack": kind, "layers": n_layers, "tokens": sizes.n_source, "growth": growth}
            rows.append(row | _columns(result))
    return rows


def measure_systems(names: Sequence[str], sizes: Sizes, **limits: Any) -> list[dict[str, Any]]:
    """Measures a training step of whole models on one document.

    A system that does not manage the document gets half of it, until it does.

    Args:
        names: Of `SYSTEMS`.
        sizes: Of all of them.
        limits: Of `measure`.
    Returns:
        One row a system and length.
    """
    rows = []
    for name in tqdm(names, desc="systems", file=sys.stderr):
        n_source = sizes.n_source
        while n_source >= min(_LEAST_TOKENS, sizes.n_source):
            result = measure(prepare_system, name, replace(sizes, n_source=n_source), **limits)
            rows.append({"system": name, "tokens": n_source, **_columns(result)})
            if isinstance(result, Measurement):
                break
            n_source = n_source // 2 // CHUNK_LEN * CHUNK_LEN
    return rows


def _columns(result: Measurement | Refusal) -> dict[str, Any]:
    if isinstance(result, Refusal):
        empty = dict.fromkeys(("parameters_m", "seconds", "step_gib", "total_gib"))
        return {**empty, "note": result.reason}
    return {
        "parameters_m": round(result.n_parameters / 1e6, 1),
        "seconds": round(result.seconds, 1),
        "step_gib": round(result.run_bytes / _GIB, 3),
        "total_gib": round(result.peak_bytes / _GIB, 3),
        "note": "",
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    for option, value in (("--tokens", options.tokens), ("--target-tokens", options.target_tokens)):
        if value % CHUNK_LEN:
            parser.error(f"{option} ({value}) must be a multiple of {CHUNK_LEN}")
    return exit_status("eval.memory", lambda: _run(options))


def _run(options: argparse.Namespace) -> None:
    require_folder_of(options.report)
    limit_gib = min(options.limit_gib, 0.9 * psutil.virtual_memory().available / _GIB)
    if limit_gib < options.limit_gib:
        print(f"only {limit_gib:.1f} GiB are free: that is the limit", file=sys.stderr)
    limits = {
        "limit_bytes": int(limit_gib * _GIB),
        "limit_seconds": 60.0 * options.limit_minutes,
        "threads": options.threads,
    }
    sizes = Sizes(
        n_layers=options.layers,
        d_model=options.d_model,
        d_ff=4 * options.d_model,
        n_heads=options.heads,
        vocab_size=options.vocab_size,
        n_source=options.tokens,
        n_target=options.target_tokens,
    )
    tables = {}
    if options.what in ("layers", "all"):
        stack_sizes = replace(sizes, n_source=options.stack_tokens)
        tables["layers"] = measure_layers(options.depths, STACKS, stack_sizes, **limits)
        print(format_rows(tables["layers"]), flush=True)
    if options.what in ("models", "all"):
        tables["models"] = measure_systems(options.systems, sizes, **limits)
        print(format_rows(tables["models"]), flush=True)
    if options.report:
        write_rows(options.report, _describe(options, limit_gib), **tables)


def _describe(options: argparse.Namespace, limit_gib: float) -> dict[str, Any]:
    settings = {name: value for name, value in vars(options).items() if name != "report"}
    return {
        **describe_machine(),
        **settings,
        "limit_gib": round(limit_gib, 1),
        "malloc": {
            "libc": " ".join(platform.libc_ver()),
            **{name: value for name, value in os.environ.items() if name.startswith("MALLOC_")},
        },
    }


def _parser() -> argparse.ArgumentParser:
    defaults = Sizes()
    parser = argparse.ArgumentParser(
        prog="python -m eval.memory",
        description="Measures what one training step (forward, loss, backward) takes on this "
        "machine's CPU, each in a fresh process: step_gib is the peak of resident memory beyond "
        "code, model and gradients, total_gib the peak of everything. Tables go to stdout, "
        "progress to stderr.",
    )
    parser.add_argument(
        "what",
        nargs="?",
        choices=("layers", "models", "all"),
        default="all",
        help="layers: our stacks by their depth, reversible and not; models: Terraformer, LED and "
        "Reformer on one long document (default: all)",
    )
    parser.add_argument(
        "--depths",
        type=positive_list,
        default=LAYERS,
        metavar="N,N,…",
        help=f"layers of the stacks (default: {','.join(map(str, LAYERS))})",
    )
    parser.add_argument(
        "--systems",
        type=_systems,
        default=tuple(SYSTEMS),
        metavar="NAME,NAME,…",
        help=f"models to measure (default: {','.join(SYSTEMS)})",
    )
    for option, default, meaning in (
        ("--stack-tokens", 8192, "positions that the stacks read"),
        (
            "--tokens",
            defaults.n_source,
            "tokens of the document; a system that does not manage "
            "them gets half of them, until it does",
        ),
        ("--target-tokens", defaults.n_target, "tokens of its summary"),
        ("--layers", defaults.n_layers, "layers of a model's encoder, and of its decoder"),
        ("--d-model", defaults.d_model, "width; feed-forward layers have four times as many units"),
        ("--heads", defaults.n_heads, "heads of attention"),
        ("--vocab-size", defaults.vocab_size, "pieces"),
        ("--limit-gib", 16, "resident memory at which a process is killed"),
        ("--limit-minutes", 60, "time after which it is killed"),
        ("--threads", 2, "threads of torch"),
    ):
        parser.add_argument(
            option,
            type=positive,
            default=default,
            metavar="N",
            help=f"{meaning} (default: %(default)s)",
        )
    parser.add_argument("--report", type=Path, metavar="FILE", help="write the rows there as JSON")
    return parser


def _systems(text: str) -> tuple[str, ...]:
    names = tuple(part.strip() for part in text.split(","))
    unknown = [name for name in names if name not in SYSTEMS]
    if unknown:
        raise argparse.ArgumentTypeError(
            f"unknown system {', '.join(unknown)}; known: {', '.join(SYSTEMS)}"
        )
    return names


if __name__ == "__main__":
    sys.exit(main())
