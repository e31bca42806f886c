from __future__ import annotations

import json
import logging
from argparse import Namespace
from pathlib import Path

import pytest

from finetune.start import choose_config, find_tokenizer, load_teacher, start_weights
from finetune.task import TASKS, Task
from finetune.train import command_line, main
from finetune.training_data import DataOptions
from terraformer.attention_config import FullAttentionConfig
from terraformer.build import build_model
from terraformer.checkpoint import PRETRAINED, load_model, save_checkpoint
from terraformer.config import EncoderDecoderConfig, LanguageModelConfig, TerraformerConfig
from terraformer.errors import CheckpointError, TerraformerError
from terraformer.feed_forward_config import DenseFFConfig
from terraformer.stack_config import StackConfig

STACK = StackConfig(1, FullAttentionConfig(2), DenseFFConfig(16), residual="standard")
CONFIG = LanguageModelConfig(400, 8, STACK)


def asked(*words: object) -> tuple[Namespace, Task]:
    arguments = command_line().parse_args([str(word) for word in words])
    return arguments, TASKS[arguments.task](DataOptions(Path()))


@pytest.fixture
def checkpoint(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "language-model"
    save_checkpoint(folder, build_model(CONFIG), tiny_checkpoint / "tokenizer.model")
    return folder


def test_a_preset_takes_over_the_tokenizers_size() -> None:
    config = choose_config(*asked("--task", "abstract", "--preset", "switch-base-8"), 24576)
    assert isinstance(config, EncoderDecoderConfig)
    assert (config.vocab_size, config.d_model) == (24576, 768)


def test_a_file_may_leave_the_type_to_the_task(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    for values in (CONFIG.to_dict(), {**CONFIG.to_dict(), "type": "LanguageModelConfig"}):
        path.write_text(json.dumps(values))
        assert choose_config(*asked("--task", "language-model", "--config", path), 400) == CONFIG
    path.write_text(json.dumps({"d_token": 48}))
    config = choose_config(*asked("--config", path), 24576)
    assert config == TerraformerConfig(d_token=48)


def test_the_extractor_has_a_config_of_its_own_and_a_checkpoint_brings_its(
    checkpoint: Path,
) -> None:
    assert choose_config(*asked(), 400) == TerraformerConfig(vocab_size=400)
    words = asked("--task", "language-model", "--init", checkpoint)
    assert choose_config(*words, 400) == CONFIG
    assert find_tokenizer(words[0]) == checkpoint / "tokenizer.model"
    assert find_tokenizer(asked()[0]).parent.parent == PRETRAINED
    assert find_tokenizer(asked("--tokenizer", "my.model")[0]) == Path("my.model")


@pytest.mark.parametrize(
    ("words", "vocab_size", "message"),
    [
        (["--task", "abstract"], 400, "give --preset, --config or --init"),
        (["--task", "abstract", "--preset", "gpt"], 400, "unknown preset 'gpt'"),
        (["--preset", "switch-base-8"], 400, "extract trains a TerraformerConfig, not a Encoder"),
        (["--task", "abstract", "--preset", "scaling-800m"], 401, r"vocab_size \(401\) must be"),
        (["--task", "language-model", "--config", "config.json"], 401, "has 401 pieces.* says 400"),
        (["--task", "language-model", "--config", "broken.json"], 400, "cannot be used"),
    ],
)
def test_a_model_that_does_not_fit_is_an_error(
    words: list[str],
    vocab_size: int,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("config.json").write_text(json.dumps(CONFIG.to_dict()))
    Path("broken.json").write_text('{"d_model": ')
    with pytest.raises(TerraformerError, match=message):
        choose_config(*asked(*words), vocab_size)


def test_a_teacher_is_of_the_students_kind_and_tokenizer(
    checkpoint: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    student, tokenizer = build_model(CONFIG), tiny_checkpoint / "tokenizer.model"
    arguments, _ = asked("--teacher", checkpoint, "--teacher-weight", 0.5, "--temperature", 2)
    teacher = load_teacher(arguments, student, tokenizer)
    assert (teacher.weight, teacher.temperature) == (0.5, 2.0)
    assert not teacher.model.training
    with pytest.raises(CheckpointError, match="is a Terraformer, the student a LanguageModel"):
        load_teacher(asked("--teacher", tiny_checkpoint)[0], student, tokenizer)
    other = tmp_path / "other.model"
    other.write_bytes(tokenizer.read_bytes() + b" ")
    with pytest.raises(CheckpointError, match="give it with --tokenizer"):
        load_teacher(arguments, student, other)
    wrong, _ = asked("--teacher", checkpoint, "--temperature", -1)
    with pytest.raises(TerraformerError, match=r"temperature \(-1\.0\) must be above 0"):
        load_teacher(wrong, student, tokenizer)


def test_weights_start_from_a_checkpoint_and_none_that_fits_is_an_error(
    checkpoint: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = load_model(checkpoint)[0]
    model = build_model(CONFIG)
    with caplog.at_level(logging.INFO):
        start_weights(model, source, "here")
    n_weights = len(model.state_dict())
    assert f"{n_weights} of {n_weights} weights start from here" in caplog.text
    assert all(value.equal(source.state_dict()[name]) for name, value in model.state_dict().items())
    stack = StackConfig(1, FullAttentionConfig(2), DenseFFConfig(48), residual="standard")
    other = build_model(LanguageModelConfig(404, 24, stack))
    with pytest.raises(CheckpointError, match="no weight of here fits"):
        start_weights(other, source, "here")


def test_a_window_too_short_is_wrong_usage(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["train", "--window", "2"])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert "--window (2) must be at least 3" in capsys.readouterr().err
