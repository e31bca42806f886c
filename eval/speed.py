"""Command `python -m eval.speed`: seconds to summarize, and how encoding scales with length."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from eval.command import checkpoint_name, positive, positive_list, require_folder_of
from eval.report import commit_of_code
from eval.synthetic import synthetic_document
from finetune.command import exit_status
from terraformer.attention_config import FullAttentionConfig
from terraformer.blocks import Stack
from terraformer.model import Terraformer
from terraformer.summarizer import Summarizer

SUMMARIZE_WORDS = (1_000, 5_000, 20_000, 60_000)
ENCODE_TOKENS = (4_096, 8_192, 16_384, 32_768, 65_536)


def time_calls(
    call: Callable[[], object], n_repeats: int, max_seconds: float = 60.0
) -> list[float]:
    """Returns the seconds of up to `n_repeats` calls, after one that is not counted.

    When calls have taken more than `max_seconds` together, no further one is made; if already the
    first takes that long, its own time is returned.
    """
    seconds: list[float] = []
    for _ in range(n_repeats + 1):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
        if sum(seconds) > max_seconds:
            break
    return seconds[1:] or seconds


def measure_summarize(
    summarizer: Summarizer, sizes: Sequence[int], n_repeats: int
) -> list[dict[str, Any]]:
    """Times whole summaries of synthetic documents, the model being loaded.

    Args:
        summarizer: The system.
        sizes: Words of the documents.
        n_repeats: Most timed calls of each.
    Returns:
        One row a size: words, sentences and tokens of the document, and seconds.
    """
    rows = []
    for n_words in tqdm(sizes, desc="documents", file=sys.stderr):
        document = synthetic_document(n_words)
        seconds = time_calls(lambda document=document: summarizer.summarize(document), n_repeats)
        rows.append(
            {
                "words": n_words,
                "sentences": len(document.sentences),
                "tokens": len(summarizer.tokenizer.encode_document(document).ids),
                **_spread("summarize", seconds),
            }
        )
    return rows


def measure_encode(
    model: Terraformer, sizes: Sequence[int], n_repeats: int
) -> list[dict[str, Any]]:
    """Times the token encoder beside the same layers with full attention (PyTorch's SDPA).

    Both read the same random token states, one sequence, float32, without gradients; the full
    encoder's weights are random, which does not change its time.

    Args:
        model: Whose token encoder is timed.
        sizes: Tokens of the sequences.
        n_repeats: Most timed calls of each.
    Returns:
        One row a size: tokens, seconds of both, their ratio, and microseconds a token.
    """
    config = model.config
    width = model.embedding.table.embedding_dim
    attention = FullAttentionConfig(n_heads=config.token_encoder.attention_of(0).n_heads)
    full = Stack(replace(config.token_encoder, attention=attention), width, causal=False).eval()
    rows = []
    for n_tokens in tqdm(sizes, desc="lengths", file=sys.stderr):
        ids = torch.randint(
            config.vocab_size, (1, n_tokens), generator=torch.Generator().manual_seed(0)
        )
        with torch.inference_mode():
            states = model.embedding(ids)
            ours = time_calls(lambda x=states: model.token_encoder(x), n_repeats)
            dense = time_calls(lambda x=states: full(x), n_repeats)
        speedup = statistics.median(dense) / statistics.median(ours)
        rows.append(
            {
                "tokens": n_tokens,
                **_spread("encode", ours),
                **_spread("full_attention", dense),
                "speedup": round(speedup, 2),
                "us_per_token": round(1e6 * statistics.median(ours) / n_tokens, 2),
                "full_attention_us_per_token": round(1e6 * statistics.median(dense) / n_tokens, 2),
            }
        )
    return rows


def _spread(name: str, seconds: Sequence[float]) -> dict[str, Any]:
    return {
        f"{name}_s": round(statistics.median(seconds), 4),
        f"{name}_s_range": [round(min(seconds), 4), round(max(seconds), 4)],
        f"{name}_n": len(seconds),
    }


def format_rows(rows: Sequence[dict[str, Any]]) -> str:
    """Lays out the scalar columns of `rows` for reading."""
    names = [name for name, value in rows[0].items() if not isinstance(value, list)]
    lines = ["  ".join(names)]
    lines += ["  ".join(f"{row[name]:>{len(name)}}" for name in names) for row in rows]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status."""
    options = _parser().parse_args(arguments)
    return exit_status("eval.speed", lambda: _run(options))


def _run(options: argparse.Namespace) -> None:
    require_folder_of(options.report)
    summarizer = Summarizer.load(options.model, threads=options.threads)
    if options.what == "summarize":
        rows = measure_summarize(summarizer, options.sizes or SUMMARIZE_WORDS, options.repeats)
    else:
        rows = measure_encode(summarizer.model, options.sizes or ENCODE_TOKENS, options.repeats)
    print(format_rows(rows))
    if options.report:
        values = {"config": _describe(options), "commit": commit_of_code(), "rows": rows}
        options.report.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def _describe(options: argparse.Namespace) -> dict[str, Any]:
    return {
        "what": options.what,
        "model": checkpoint_name(options.model),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load_average": [round(value, 1) for value in os.getloadavg()],
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m eval.speed",
        description="Times the loaded model on this machine's CPU: medians to stdout, progress to "
        "stderr.",
    )
    parser.add_argument(
        "what",
        choices=("summarize", "encode"),
        help="summarize: whole summaries of synthetic documents; encode: the token encoder beside "
        "the same layers with full attention",
    )
    parser.add_argument(
        "--sizes",
        type=positive_list,
        metavar="N,N,…",
        help=f"words to summarize (default: {','.join(map(str, SUMMARIZE_WORDS))}) or tokens to "
        f"encode (default: {','.join(map(str, ENCODE_TOKENS))})",
    )
    parser.add_argument(
        "--repeats",
        type=positive,
        default=5,
        metavar="N",
        help="timed calls of each, fewer if they take over a minute (default: %(default)s)",
    )
    parser.add_argument("--model", metavar="NAME_OR_FOLDER", help="default: the shipped checkpoint")
    parser.add_argument(
        "--threads", type=positive, metavar="N", help="threads (default: as torch chooses)"
    )
    parser.add_argument("--report", type=Path, metavar="FILE", help="write the rows there as JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main())
