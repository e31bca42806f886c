"""Command `python -m eval.ablation`: what each part of the extractor is worth, and its cost."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from eval.ablation_run import BATCH_SIZE, train_variant
from eval.ablation_variant import VARIANTS, Variant
from eval.command import command_line, positive, positive_list, require_folder_of
from eval.plot import Curve, Panel, require_drawable, save_panels
from eval.table import describe_machine, format_rows, write_rows
from finetune.command import exit_status
from terraformer.checkpoint import find_checkpoint
from terraformer.errors import TerraformerError

_ROW = "row.json"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status."""
    options = _parser().parse_args(arguments)
    command = command_line("eval.ablation", arguments)
    return exit_status("eval.ablation", lambda: _run(options, command))


def _run(options: argparse.Namespace, command: str) -> None:
    require_folder_of(options.report)
    if options.plot:
        require_folder_of(options.plot)
        require_drawable(options.plot)
    torch.set_num_threads(options.threads)
    base = find_checkpoint(options.model)
    variants = {name: VARIANTS[name] for name in options.variants}
    if options.encoder:
        what = f"embeddings start from {Path(options.encoder).name}"
        variants["pretrained-vectors"] = Variant(what, {}, ("--vectors", options.encoder))
    same = {
        "model": base.name,
        "validation_papers": options.validation,
        "batch_size": BATCH_SIZE,
    }
    rows = []
    for name, variant in variants.items():
        for n_papers in options.papers:
            folder = options.runs / f"{name}-{n_papers}"
            asked = same | {"papers": n_papers}
            row = _done(folder, asked)
            if row is None:
                row = train_variant(variant, n_papers, base, folder, options)
                (folder / _ROW).write_text(json.dumps([asked, row]) + "\n", encoding="utf-8")
            rows.append(row)
    print(format_rows(rows))
    if options.report:
        config = {"command": command, **same, "papers": options.papers}
        write_rows(options.report, config | describe_machine(), rows=rows)
    if options.plot:
        draw_learning(options.plot, rows)


def draw_learning(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Draws how each change learns: ROUGE-2 and loss on validation over the papers of training.

    Args:
        path: File to write.
        rows: What `train_variant` returns.
    """
    panels = []
    for column, label in (("rouge2", "ROUGE-2 F1 in percent"), ("validation_loss", "loss")):
        curves: dict[str, list[tuple[int, float]]] = {}
        for row in rows:
            name = f"{row['change']}, {row['parameters_m']} M"
            curves.setdefault(name, []).append((row["papers"], row[column]))
        panels.append(
            Panel(
                label,
                [
                    Curve(name, *zip(*sorted(points), strict=True))
                    for name, points in curves.items()
                ],
                logarithmic="x",
            )
        )
    save_panels(path, panels, title="Picking, on validation papers", x_label="papers of training")


def _done(folder: Path, asked: Mapping[str, Any]) -> dict[str, Any] | None:
    """Returns the row of an earlier run with the same settings, None if there is none.

    Raises:
        TerraformerError: if the run there was made with others.
    """
    if not (folder / _ROW).exists():
        return None
    settings, row = json.loads((folder / _ROW).read_text(encoding="utf-8"))
    if settings != asked:
        raise TerraformerError(f"{folder} holds a run with {settings}: give another --runs")
    return row


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m eval.ablation",
        description="Trains the extractor on some papers, each time with one change, and compares.",
    )
    add = parser.add_argument
    add("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS), metavar="NAME")
    add(
        "--papers",
        type=positive_list,
        default=(3000,),
        metavar="N,N,…",
        help="of training, one run for each number (default: 3000)",
    )
    add(
        "--validation",
        type=positive,
        default=200,
        metavar="N",
        help="papers that ROUGE is taken on (default: 200)",
    )
    add(
        "--encoder",
        metavar="FOLDER_OR_HUB_ID",
        help="try embeddings that start from this encoder of transformers, too",
    )
    add("--model", metavar="NAME_OR_FOLDER", help="checkpoint that is changed (default: shipped)")
    add("--examples", type=Path, default=Path("runs/examples"), help="prepared papers")
    add("--data", metavar="FOLDER", help="of Parquet files (default: TERRAFORMER_DATA)")
    add(
        "--runs",
        type=Path,
        default=Path("runs/ablation"),
        metavar="FOLDER",
        help="where runs are kept; what is done there is not done again (default: runs/ablation)",
    )
    add("--threads", type=positive, default=2, metavar="N", help="(default: 2)")
    add("--report", type=Path, metavar="FILE", help="write the rows there as JSON")
    add("--plot", type=Path, metavar="FILE", help="draw what is learned over the papers")
    return parser


if __name__ == "__main__":
    sys.exit(main())
