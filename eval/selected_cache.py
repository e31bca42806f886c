"""Command `python -m eval.selected_cache`: what reading little of a long cache costs in quality."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from eval.command import checkpoint_name, positive, require_folder_of
from eval.table import describe_machine, format_rows, write_rows
from finetune.command import exit_status
from finetune.data import find_split, to_document
from finetune.training_data import n_positions
from terraformer.checkpoint import load_model
from terraformer.errors import CheckpointError, DataError, DocumentError
from terraformer.fast_decoding import fast_or_plain
from terraformer.generation import Decoder
from terraformer.language_model import LanguageModel
from terraformer.selected_cache import SelectedCacheConfig
from terraformer.tokenizer import Tokenizer


def variants(config: SelectedCacheConfig) -> dict[str, SelectedCacheConfig]:
    """Returns a cache and what it is to be held against: itself with a part left out.

    The windows read as many positions, all of them the latest ones.
    """
    window = replace(config, n_hashes=0, n_recent=config.n_read - config.n_first)
    return {
        "selected": config,
        "selected, no rest": replace(config, mean_of_rest=False),
        "window and rest": window,
        "window": replace(window, mean_of_rest=False),
    }


def compare_caches(
    model: LanguageModel,
    caches: Mapping[str, SelectedCacheConfig],
    windows: Sequence[Tensor],
    n_threads: int = 1,
) -> list[dict[str, Any]]:
    """Measures what texts cost that are read token by token with little of the cache in view.

    Args:
        model: In evaluation.
        caches: What is read of the caches of full attention, by name.
        windows: Texts of one length, [L] each, int64.
        n_threads: Threads of a step.
    Returns:
        A row for full attention and for each cache: the most positions that a step reads, mean
        nats a token, the same in the second half of each text, and how many more these are than
        with full attention, each with its standard error over the texts (of the difference).
    """
    full = full_nats(model, windows)
    rows = [_row("full", len(windows[0]), full, full)]
    for name, config in caches.items():
        nats = step_nats(model, config, windows, n_threads)
        rows.append(_row(name, config.n_read, nats, full))
    return rows


@torch.no_grad()
def full_nats(model: LanguageModel, windows: Sequence[Tensor]) -> Tensor:
    """Returns the nats of each token of texts [L] with all before it in view, [W, L]."""
    return torch.stack([_nats(model.logits(ids[None])[0], ids) for ids in windows])


def step_nats(
    model: LanguageModel,
    cache: SelectedCacheConfig | None,
    windows: Sequence[Tensor],
    n_threads: int = 1,
) -> Tensor:
    """Returns the nats of each token of texts [L] that steps read one by one, [W, L]."""
    decoder = fast_or_plain(model, n_threads, cache=cache)
    progress = tqdm(windows, desc="texts", file=sys.stderr)
    return torch.stack([_nats(step_logits(decoder, ids), ids) for ids in progress])


def step_logits(decoder: Decoder, ids: Tensor) -> Tensor:
    """Returns the logits of each token of a text [L] that steps read one by one, [L, V]."""
    first, state = decoder.begin(ids[None, :0])
    logits = [first]
    for token in ids[:-1]:
        following, state = decoder.step(token[None], state)
        logits.append(following)
    return torch.cat(logits)


def read_windows(
    tokenizer: Tokenizer, length: int, n_windows: int, data: str | None = None
) -> list[Tensor]:
    """Returns the first `length` tokens of validation papers that have so many, int64.

    Args:
        tokenizer: Of the model.
        length: Tokens of a window.
        n_windows: How many windows.
        data: Folder of the papers; see `finetune.data.find_split`.
    Raises:
        DataError: if the papers are not found, or too few are long enough.
    """
    windows: list[Tensor] = []
    for row in find_split("validation", data):
        if len(windows) == n_windows:
            break
        try:
            ids = tokenizer.encode_document(to_document(dict(row))).ids
        except DocumentError:
            continue
        if len(ids) >= length:
            windows.append(torch.as_tensor(ids[:length], dtype=torch.int64))
    if len(windows) < n_windows:
        raise DataError(
            f"only {len(windows)} validation papers have {length} tokens: ask for fewer windows "
            f"than {n_windows}, or for shorter ones"
        )
    return windows


def _nats(logits: Tensor, ids: Tensor) -> Tensor:
    return F.cross_entropy(logits.float(), ids, reduction="none")


def _row(name: str, n_read: int, nats: Tensor, full: Tensor) -> dict[str, Any]:
    late = slice(nats.shape[1] // 2, None)
    row: dict[str, Any] = {"cache": name, "reads": n_read}
    for part, chosen in (("", slice(None)), ("late_", late)):
        more = (nats - full)[:, chosen].mean(dim=1)  # [W]
        error = float(more.std() / len(more) ** 0.5) if len(more) > 1 else 0.0
        row[f"{part}nats"] = round(float(nats[:, chosen].mean()), 4)
        row[f"{part}more"] = round(float(more.mean()), 4)
        row[f"{part}more_error"] = round(error, 4)
    return row


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    sizes = {item.name: getattr(options, item.name) for item in fields(SelectedCacheConfig)}
    try:
        config = SelectedCacheConfig(**sizes)
    except ValueError as error:
        parser.error(str(error))
    return exit_status("eval.selected_cache", lambda: _run(options, config))


def _run(options: argparse.Namespace, config: SelectedCacheConfig) -> None:
    require_folder_of(options.report)
    torch.set_num_threads(options.threads)
    model, tokenizer = load_model(options.model)
    if not isinstance(model, LanguageModel):
        raise CheckpointError(
            f"{options.model} holds a {type(model).__name__}: give a model that finetune.train "
            "made with --task language-model"
        )
    most = n_positions(model.config.positions)
    if most is not None and options.length > most:
        raise DataError(f"the model has {most} positions: give --length {most} at most")
    windows = read_windows(tokenizer, options.length, options.windows, options.data)
    rows = compare_caches(model, variants(config), windows, options.threads)
    print(format_rows(rows))
    if options.report:
        described = {
            "model": checkpoint_name(options.model),
            "windows": options.windows,
            "length": options.length,
            "cache": asdict(config),
            **describe_machine(),
        }
        write_rows(options.report, described, rows=rows)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m eval.selected_cache",
        description="Reads validation papers token by token with a language model that was trained "
        "with full attention, and tells how many more nats a token they cost when a step reads "
        "some positions only: a table to stdout, progress to stderr.",
    )
    parser.add_argument("model", metavar="MODEL", help="folder of a trained language model")
    for name, default, what in (
        ("--windows", 20, "papers that are read"),
        ("--length", 2048, "tokens of each, from its beginning"),
        ("--threads", 1, "threads"),
    ):
        parser.add_argument(
            name, type=positive, default=default, metavar="N", help=f"{what} (default: %(default)s)"
        )
    for item in fields(SelectedCacheConfig):
        flag = f"--{item.name.replace('_', '-')}"
        if item.type == "bool":
            parser.add_argument(
                flag,
                action=argparse.BooleanOptionalAction,
                default=item.default,
                help="see SelectedCacheConfig (default: %(default)s)",
            )
        else:
            parser.add_argument(
                flag,
                type=int,
                default=item.default,
                metavar="N",
                help="see SelectedCacheConfig (default: %(default)s)",
            )
    parser.add_argument("--data", help="folder of Parquet files (default: TERRAFORMER_DATA)")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write the rows there as JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main())
