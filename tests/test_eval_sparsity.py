"""Sparse beside dense: equal sizes, the same tokens, and the command from papers to plot."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import Dataset
from transformers import Trainer

from eval.corpus import CorpusSettings, Windows, join_papers, load_tokens, prepare_corpus
from eval.feed_forward_size import count_weights, count_weights_read, match_units
from eval.plot import Curve, Panel, save_panels
from eval.sparsity import main
from eval.synthetic import synthetic_document
from terraformer.errors import DataError, TerraformerError
from terraformer.feed_forward import build_feed_forward
from terraformer.feed_forward_config import DenseFFConfig, SparseFFConfig
from terraformer.tokenizer import EOS_ID, Tokenizer

SMALL = (
    "--tokens 4096 --corpus-tokens 5000 --validation-tokens 512 --evaluation-tokens 1024 "
    "--vocab-size 400 --length 32 --batch-size 4 --d-model 16 --heads 2 --layers 1 --d-ff 64 "
    "--block-size 4 --d-lowrank 4 --warmup-steps 2 --processes 1"
).split()


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random papers, one of them empty."""
    folder = tmp_path_factory.mktemp("papers")
    for split, seeds in (("train", range(6)), ("validation", range(6, 8))):
        rows = [_row(synthetic_document(600, seed).text, seed) for seed in seeds]
        Dataset.from_list([_row("", 99), *rows]).to_parquet(folder / f"{split}.parquet")
    return folder


def _row(text: str, number: int) -> dict[str, Any]:
    return {"id": f"x:{number}", "origin": "plos", "title": "", "abstract": text[:200]} | {
        "sections": [{"heading": "Text" if text else "", "text": text}]
    }


@pytest.fixture
def command(papers: Path, tmp_path: Path) -> list[str]:
    return [*SMALL, "--data", str(papers), "--folder", str(tmp_path / "run")]


@pytest.mark.parametrize("block_size", [1, 4, 16])
@pytest.mark.parametrize(("d_model", "d_ff", "d_lowrank"), [(16, 64, 4), (24, 100, 7), (8, 96, 1)])
def test_sparse_has_as_many_units_as_dense_weights_allow(
    d_model: int, d_ff: int, d_lowrank: int, block_size: int
) -> None:
    dense = DenseFFConfig(d_ff=d_ff)
    sparse = match_units(
        SparseFFConfig(d_ff=block_size, block_size=block_size, d_lowrank=d_lowrank), dense, d_model
    )
    larger = replace(sparse, d_ff=sparse.d_ff + block_size)

    def built(config: DenseFFConfig | SparseFFConfig) -> int:
        weights = build_feed_forward(config, d_model, 0.0).parameters()
        return sum(weight.numel() for weight in weights)

    assert built(sparse) <= built(dense) < built(larger)
    for config in (dense, sparse, larger):
        assert count_weights(config, d_model) == built(config)
    resting = sparse.d_ff * (block_size - 1) // block_size
    assert count_weights_read(sparse, d_model) == built(sparse) - 2 * d_model * resting
    assert count_weights_read(dense, d_model) == built(dense)


def test_a_controller_larger_than_the_dense_layer_is_refused(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([*command, "--d-lowrank", "400"])
    assert "d_lowrank (400)" in capsys.readouterr().err


def test_windows_are_all_tokens_once_in_an_order_of_the_seed() -> None:
    tokens = np.arange(103, dtype=np.uint16)
    straight, first, again, other = (Windows(tokens, 10, seed) for seed in (None, 1, 1, 2))
    np.testing.assert_array_equal(np.concatenate([*_all(straight)]), np.arange(100))
    np.testing.assert_array_equal([*_all(first)], [*_all(again)])
    assert [window[0] for window in _all(first)] != [window[0] for window in _all(other)]
    assert sorted(window[0] for window in _all(first)) == list(range(0, 100, 10))
    assert next(_all(first)).dtype == np.int64


def _all(windows: Windows) -> Iterator[np.ndarray]:
    return (windows[i] for i in range(len(windows)))


def test_papers_are_joined_with_their_ends(tiny_checkpoint: Path) -> None:
    tokenizer = Tokenizer(tiny_checkpoint / "tokenizer.model")
    rows = Dataset.from_list(
        [_row("", 0), _row("Rivers carry sediment.", 1), _row("Dams hold it back.", 2)]
    )
    first, second = (
        [*tokenizer.encode("Text"), *tokenizer.encode(text), EOS_ID]
        for text in ("Rivers carry sediment.", "Dams hold it back.")
    )
    tokens = join_papers(rows, tokenizer, len(first) + 4)
    assert tokens.tolist() == first + second[:4]
    assert tokens.dtype == np.uint16
    assert join_papers(rows, tokenizer, 6, max_tokens=3).tolist() == first[:3] + second[:3]
    with pytest.raises(DataError, match=f"only {len(first) + len(second)} tokens"):
        join_papers(rows, tokenizer, 1000)


def test_a_corpus_is_prepared_once_a_setting(papers: Path, tmp_path: Path) -> None:
    settings = CorpusSettings(vocab_size=400, n_train=900, n_validation=300)
    prepare_corpus(tmp_path, settings, str(papers))
    assert [len(load_tokens(tmp_path, split)) for split in ("train", "validation")] == [900, 300]
    before = (tmp_path / "train.npy").stat().st_mtime_ns
    prepare_corpus(tmp_path, settings, data="nowhere")
    assert (tmp_path / "train.npy").stat().st_mtime_ns == before
    prepare_corpus(tmp_path, replace(settings, n_train=800), str(papers))
    assert len(load_tokens(tmp_path, "train")) == 800


def test_command_trains_reports_and_draws(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    report, plot = tmp_path / "sparsity.json", tmp_path / "sparsity.svg"
    assert main([*command, "--report", str(report), "--plot", str(plot)]) == 0
    values = json.loads(report.read_text())
    dense, sparse = values["models"]
    assert (dense["d_ff"], dense["share_active"], sparse["share_active"]) == (64, 1.0, 0.25)
    assert 0 <= dense["parameters"] - sparse["parameters"] < 4 * (2 * 16 + 1 + 4)
    assert sparse["units_active"] * 4 == sparse["d_ff"]
    assert [row["tokens"] for row in values["losses"]] == [1024, 2048, 3072, 4096]
    for row in values["losses"]:
        assert row["difference"] == pytest.approx(row["sparse"] - row["dense"], abs=1e-3)
    for name in ("dense", "sparse"):
        assert all(later[name] < sooner[name] for sooner, later in pairwise(values["losses"]))
    assert f"{sparse['parameters'] / 1e6:.2f} M parameters" in plot.read_text()
    printed = capsys.readouterr().out
    assert all(str(row["sparse"]) in printed for row in values["losses"])


def test_a_run_cut_short_goes_on_and_ends_as_one_that_was_not(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, pieces = tmp_path / "whole.json", tmp_path / "pieces.json"
    assert main([*command, "--report", str(whole)]) == 0
    command[command.index("--folder") + 1] = str(tmp_path / "again")
    step, steps_done = Trainer.training_step, []

    def cut(self: Trainer, *args: Any, **kwargs: Any) -> Any:
        steps_done.append(self.state.global_step)
        if len(steps_done) == 45:  # in the middle of the second model
            raise KeyboardInterrupt
        return step(self, *args, **kwargs)

    monkeypatch.setattr(Trainer, "training_step", cut)
    with pytest.raises(KeyboardInterrupt):
        main([*command, "--report", str(pieces)])
    assert main([*command, "--report", str(pieces)]) == 0
    assert len(steps_done) == 45 + 32 - 8
    assert json.loads(pieces.read_text())["losses"] == json.loads(whole.read_text())["losses"]


def test_a_folder_of_another_run_is_left_alone(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command) == 0
    assert main([*command, "--seed", "1"]) == 1
    assert "trained otherwise" in capsys.readouterr().err


def test_what_cannot_be_drawn_is_said_before_the_work(
    command: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    panel = Panel("loss", [Curve("a", [1, 2], [3, 4])])
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "matplotlib", None)
        patch.setitem(sys.modules, "matplotlib.backend_bases", None)
        assert main([*command, "--plot", "x.svg"]) == 1
        assert "pip install matplotlib" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    pytest.importorskip("matplotlib")
    with pytest.raises(TerraformerError, match="its ending must be one of"):
        save_panels(tmp_path / "x.docx", [panel], title="", x_label="")
    save_panels(tmp_path / "x.png", [panel, panel], title="t", x_label="x")
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")
