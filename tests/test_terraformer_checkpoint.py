from __future__ import annotations

import json
import shutil
from pathlib import Path

import huggingface_hub
import pytest
import torch
from safetensors.torch import load_file, save_file

from terraformer.attention_config import FullAttentionConfig
from terraformer.batch import SourceArrays, collate
from terraformer.checkpoint import find_checkpoint, load_checkpoint, load_model, save_checkpoint
from terraformer.config import LanguageModelConfig
from terraformer.document import Document
from terraformer.errors import CheckpointError
from terraformer.feed_forward_config import DenseFFConfig
from terraformer.language_model import LanguageModel
from terraformer.model import Terraformer
from terraformer.stack_config import StackConfig


@pytest.fixture
def folder(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_checkpoint, tmp_path / "checkpoint"))


def error_of(folder: Path | str) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(folder)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 600
    return message


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_saved_comes_back(folder: Path, tmp_path: Path, dtype: torch.dtype) -> None:
    model, tokenizer = load_checkpoint(folder)
    model.to(dtype).float()
    save_checkpoint(tmp_path / "new" / "one", model, folder / "tokenizer.model", dtype=dtype)
    again, other_tokenizer = load_checkpoint(tmp_path / "new" / "one")
    assert again.config == model.config
    assert other_tokenizer.vocab_size == tokenizer.vocab_size
    document = Document.from_sections([("", "Rivers carry sediment to the sea. Dams hold it.")])
    source = collate([SourceArrays.of(document, tokenizer)])
    picks = torch.tensor([[1]])
    with torch.no_grad():
        assert torch.equal(again(source, picks).logits, model(source, picks).logits)
    assert not again.training
    assert all(weight.dtype == torch.float32 for weight in again.state_dict().values())
    stored = load_file(tmp_path / "new" / "one" / "model.safetensors")
    assert {weight.dtype for weight in stored.values()} == {dtype}


def test_saving_over_itself_keeps_the_tokenizer(folder: Path) -> None:
    before = (folder / "tokenizer.model").read_bytes()
    model, _ = load_checkpoint(folder)
    save_checkpoint(folder, model, folder / "tokenizer.model")
    assert (folder / "tokenizer.model").read_bytes() == before


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.model"])
@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_damaged_files_are_named(folder: Path, name: str, damage: str) -> None:
    content = (folder / name).read_bytes()
    (folder / name).unlink()
    if damage == "cut":
        (folder / name).write_bytes(content[:100])
    assert str(folder) in error_of(folder)


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[1]",
        '{"d_model": 3}',
        '{"type": "TerraformerConfig", "d_modl": 3}',
        '{"type": "TerraformerConfig", "d_model": 3}',
        '{"type": "SRUConfig"}',
        '{"dropout":',
    ],
)
def test_a_damaged_config_is_named(folder: Path, content: str) -> None:
    (folder / "config.json").write_text(content)
    assert str(folder) in error_of(folder)


def test_a_model_that_does_not_pick_is_refused(folder: Path, tmp_path: Path) -> None:
    feed_forward = DenseFFConfig(d_ff=32)
    decoder = StackConfig(1, FullAttentionConfig(n_heads=2), feed_forward)
    model = LanguageModel(LanguageModelConfig(400, 16, decoder)).eval()
    save_checkpoint(tmp_path / "lm", model, folder / "tokenizer.model")
    assert "is a LanguageModel, which does not pick sentences" in error_of(tmp_path / "lm")
    again, _ = load_model(tmp_path / "lm")
    assert isinstance(again, LanguageModel)
    ids = torch.arange(20)[None]
    assert torch.equal(again.logits(ids), model.logits(ids))


def test_weights_of_another_shape_or_name_do_not_fit(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    save_file({**weights, "start": torch.zeros(3)}, folder / "model.safetensors")
    assert "do not fit its config.json: size mismatch for start" in error_of(folder)
    save_file({"other": torch.zeros(3)}, folder / "model.safetensors")
    assert "do not fit its config.json" in error_of(folder)


def test_a_tokenizer_of_another_size_does_not_fit(folder: Path) -> None:
    model, _ = load_checkpoint(folder)
    values = {**model.config.to_dict(), "vocab_size": 401}
    other = Terraformer(type(model.config).from_dict(values))
    save_checkpoint(folder, other, folder / "tokenizer.model")
    assert "has 400 pieces, its config.json says 401" in error_of(folder)


def test_an_unknown_name_is_answered_with_the_ways(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    message = error_of("no-such-checkpoint")
    assert "'no-such-checkpoint'" in message
    assert "a folder that holds config.json" in message
    assert "a Hub id" in message
    monkeypatch.setattr("terraformer.checkpoint.PRETRAINED", folder.parent)
    assert "or a shipped one (checkpoint)" in error_of("no-such-checkpoint")
    assert find_checkpoint("checkpoint") == folder
    monkeypatch.setattr("terraformer.checkpoint.PRETRAINED", tmp_path / "none")
    assert "a folder that holds config.json or a Hub id" in error_of("no-such-checkpoint")


def test_a_hub_id_is_downloaded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def download(hub_id: str, **_: object) -> str:
        asked.append(hub_id)
        if hub_id == "user/gone":
            raise OSError("unreachable")
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert load_checkpoint("user/model")[1].vocab_size == 400
    assert "the Hub did not answer" in error_of("user/gone")
    error_of("./user")
    error_of(folder.parent / "none")
    assert asked == ["user/model", "user/gone"]


def test_config_is_readable_json(folder: Path) -> None:
    assert json.loads((folder / "config.json").read_text())["type"] == "TerraformerConfig"
