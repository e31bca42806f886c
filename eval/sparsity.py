"""Command `python -m eval.sparsity`: sparse feed-forward beside dense, as language models.

Two Scaling Transformers that differ in their feed-forward layers alone are trained on papers, with
as many parameters and on the same tokens in the same order. The sparse one is validated as it
decodes: with one unit in each block.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from eval.command import positive, require_folder_of
from eval.commit import commit_of_code
from eval.corpus import CorpusSettings, prepare_corpus
from eval.feed_forward_size import count_weights, count_weights_read, match_units
from eval.language_training import (
    TrainedModel,
    TrainingSettings,
    require_same_run,
    train_side_by_side,
)
from eval.plot import Curve, Panel, require_drawable, save_panels
from eval.table import format_rows
from finetune.command import exit_status
from terraformer.attention_config import FullAttentionConfig
from terraformer.config import LanguageModelConfig
from terraformer.feed_forward_config import DenseFFConfig, SparseFFConfig
from terraformer.stack_config import StackConfig

CLOSE_ENOUGH = 0.05
"""Nats a token within which sparse is said to reach dense."""


def build_configs(options: argparse.Namespace) -> dict[str, LanguageModelConfig]:
    """Returns the two models that the command line asks for."""
    dense = DenseFFConfig(d_ff=options.d_ff)
    sparse = SparseFFConfig(
        block_size=options.block_size,
        d_ff=options.block_size,
        d_lowrank=options.d_lowrank,
        quant_prob=options.quant_prob,
    )
    layers: dict[str, DenseFFConfig | SparseFFConfig] = {
        "dense": dense,
        "sparse": match_units(sparse, dense, options.d_model),
    }
    return {
        name: LanguageModelConfig(
            vocab_size=options.vocab_size,
            d_model=options.d_model,
            decoder=StackConfig(
                n_layers=options.layers,
                attention=FullAttentionConfig(n_heads=options.heads, rotary=True),
                feed_forward=feed_forward,
                residual="standard",
            ),
            dropout=0.0,  # no token is seen twice
        )
        for name, feed_forward in layers.items()
    }


def describe_models(
    configs: dict[str, LanguageModelConfig], trained: dict[str, TrainedModel]
) -> list[dict[str, Any]]:
    """Returns a row a model: its size, what decoding reads of it, and what training took."""
    rows = []
    for name, config in configs.items():
        layer = config.decoder.feed_forward
        assert isinstance(layer, DenseFFConfig | SparseFFConfig)
        block_size = layer.block_size if isinstance(layer, SparseFFConfig) else 1
        rows.append(
            {
                "model": name,
                "parameters": trained[name].n_parameters,
                "d_ff": layer.d_ff,
                "units_active": layer.d_ff // block_size,
                "share_active": round(1 / block_size, 4),
                "ff_weights": config.decoder.n_layers * count_weights(layer, config.d_model),
                "ff_weights_read": config.decoder.n_layers
                * count_weights_read(layer, config.d_model),
                "seconds": round(trained[name].evaluations[-1].seconds, 1),
            }
        )
    return rows


def compare_losses(trained: dict[str, TrainedModel]) -> list[dict[str, Any]]:
    """Returns a row an evaluation: tokens, both validation losses, and sparse less dense."""
    return [
        {
            "tokens": dense.n_tokens,
            "dense": round(dense.loss, 4),
            "sparse": round(sparse.loss, 4),
            "difference": round(sparse.loss - dense.loss, 4),
        }
        for dense, sparse in zip(
            trained["dense"].evaluations, trained["sparse"].evaluations, strict=True
        )
    ]


def draw(path: Path, losses: Sequence[dict[str, Any]], title: str) -> None:
    """Draws both losses, and their difference below, against the tokens trained on."""
    millions = [row["tokens"] / 1e6 for row in losses]

    def curve(name: str) -> Curve:
        return Curve(name, millions, [row[name] for row in losses])

    panels = [
        Panel("validation loss,\nnats a token", [curve("dense"), curve("sparse")]),
        Panel("sparse − dense\n(dashed: 0.05)", [curve("difference")], limit=CLOSE_ENOUGH),
    ]
    save_panels(path, panels, title=title, x_label="million tokens trained on")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        configs = build_configs(options)
    except ValueError as error:
        parser.error(str(error))
    return exit_status("eval.sparsity", lambda: _run(options, configs))


def _run(options: argparse.Namespace, configs: dict[str, LanguageModelConfig]) -> None:
    require_folder_of(options.report)
    if options.plot:
        require_drawable(options.plot)
    settings = TrainingSettings(
        n_tokens=options.tokens,
        length=options.length,
        batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        warmup_steps=options.warmup_steps,
        evaluation_tokens=options.evaluation_tokens,
        seed=options.seed,
    )
    require_same_run(options.folder, configs, settings)
    n_train = max(options.tokens, options.corpus_tokens)
    corpus = CorpusSettings(options.vocab_size, n_train, options.validation_tokens)
    prepare_corpus(options.folder / "corpus", corpus, options.data)
    trained = train_side_by_side(
        configs,
        settings,
        options.folder / "corpus",
        options.folder,
        n_processes=options.processes,
        n_threads=options.threads,
    )
    models, losses = describe_models(configs, trained), compare_losses(trained)
    print(format_rows(models), format_rows(losses), sep="\n\n")
    if options.report:
        values = {
            "training": asdict(settings),
            "corpus": asdict(corpus),
            "configs": {name: config.to_dict() for name, config in configs.items()},
            "commit": commit_of_code(),
            "models": models,
            "losses": losses,
        }
        options.report.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    if options.plot:
        _, sparse = models
        title = (
            f"Sparse feed-forward (1 unit in {options.block_size} active) and dense: "
            f"{sparse['parameters'] / 1e6:.2f} M parameters each\n"
            f"{options.layers} layers, d_model {options.d_model}, "
            f"d_ff {options.d_ff} dense, {sparse['d_ff']} sparse; scientific papers"
        )
        draw(options.plot, losses, title)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m eval.sparsity",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )

    def number(name: str, default: int, what: str) -> None:
        parser.add_argument(
            name, type=positive, default=default, metavar="N", help=f"{what} (default: %(default)s)"
        )

    number("--tokens", 6_500_000, "tokens to train on")
    number("--corpus-tokens", 10_000_000, "tokens prepared, more if more are trained on")
    number("--validation-tokens", 100_000, "tokens to validate on")
    number("--evaluation-tokens", 500_000, "tokens trained on from one validation to the next")
    number("--vocab-size", 2048, "pieces of the tokenizer")
    number("--layers", 2, "blocks of a model")
    number("--d-model", 128, "width")
    number("--heads", 4, "heads of attention")
    number("--d-ff", 1024, "units of the dense layer; the sparse one has fewer, for its controller")
    number("--block-size", 8, "units of a block, of which one is active")
    number("--d-lowrank", 32, "width of the controller")
    number("--length", 256, "tokens of a window")
    number("--batch-size", 4, "windows of a step")
    number("--warmup-steps", 200, "steps over which the learning rate rises")
    number("--processes", 2, "models trained at once")
    number("--threads", 1, "threads of each")
    parser.add_argument(
        "--quant-prob",
        type=float,
        default=0.3,
        metavar="P",
        help="share of the steps that train with one active unit (default: %(default)s)",
    )
    parser.add_argument("--learning-rate", type=float, default=2e-3, help="(default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="(default: %(default)s)")
    parser.add_argument("--data", help="folder of Parquet files (default: TERRAFORMER_DATA)")
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path("runs/sparsity"),
        help="keeps tokens and models; a run that was cut short goes on (default: %(default)s)",
    )
    parser.add_argument("--report", type=Path, metavar="FILE", help="write the rows there as JSON")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the losses, as SVG or PNG")
    return parser


if __name__ == "__main__":
    sys.exit(main())
