"""Fixtures of all tests: golden vectors, tolerances, and memory that shows when it was not set."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

GOLDEN = Path(
    os.environ.get("TERRAFORMER_GOLDEN")
    or Path(__file__).resolve().parents[1] / "../shared/reference/golden"
)

TOLERANCES = {  # relative to the largest value: outputs, gradients
    torch.float64: (1e-10, 1e-10),
    torch.float32: (1e-5, 1e-4),
    torch.float16: (2e-3, 4e-3),  # eleven bits of mantissa
    torch.bfloat16: (2e-2, 4e-2),  # eight bits
}


def pytest_configure(config: pytest.Config) -> None:
    torch.set_num_threads(1)  # the tensors are small: threads would only wait for one another
    with torch.device(
        "cpu"
    ):  # which functions it redirects is noted once: before they are replaced
        torch.empty(0)
    config.addinivalue_line(
        "markers", "golden(prefix): runs once for every golden file of the family"
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    marker = metafunc.definition.get_closest_marker("golden")
    if marker is None:
        return
    files = sorted(GOLDEN.glob(f"{marker.args[0]}*.npz"))
    missing = pytest.param(
        None,
        id="missing",
        marks=pytest.mark.skip(f"no {marker.args[0]}*.npz in TERRAFORMER_GOLDEN ({GOLDEN})"),
    )
    metafunc.parametrize(
        "golden_path",
        [pytest.param(file, id=file.stem) for file in files] or [missing],
        indirect=True,
    )


@pytest.fixture
def golden_path(request: pytest.FixtureRequest) -> Path:
    """One golden file."""
    return request.param


@pytest.fixture
def golden(golden_path: Path) -> dict[str, Any]:
    """The arrays of one golden file, tensors where they have axes, else numbers."""
    with np.load(golden_path) as arrays:
        return {
            name: torch.from_numpy(arrays[name]) if arrays[name].ndim else arrays[name].item()
            for name in arrays.files
        }


@pytest.fixture
def assert_near() -> Callable[..., None]:
    """Compares tensors by the one table of tolerances."""

    def compare(
        actual: Tensor, expected: Tensor, *, grad: bool = False, dtype: torch.dtype | None = None
    ) -> None:
        assert actual.shape == expected.shape
        dtype = dtype or actual.dtype
        tolerance = TOLERANCES[dtype][grad]
        scale = max(1.0, expected.abs().max().item()) if expected.numel() else 1.0
        torch.testing.assert_close(
            actual.double(), expected.double(), rtol=tolerance, atol=tolerance * scale
        )

    return compare


@pytest.fixture(autouse=True)
def _nan_in_empty_memory(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes `empty` tensors NaN (integers: far out of range) in tests of our own layers."""
    if not request.path.name.startswith(("test_kernels_", "test_terraformer_")):
        return

    def filled(create: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def create_filled(*args: Any, **kwargs: Any) -> Tensor:
            made = create(*args, **kwargs)
            with torch.no_grad():
                if made.is_floating_point():
                    made.fill_(torch.nan)
                elif made.dtype != torch.bool:
                    made.fill_(torch.iinfo(made.dtype).max)
            return made

        return create_filled

    monkeypatch.setattr(torch, "empty", filled(torch.empty))
    monkeypatch.setattr(torch, "empty_like", filled(torch.empty_like))
    monkeypatch.setattr(torch.Tensor, "new_empty", filled(torch.Tensor.new_empty))


@pytest.fixture(autouse=True)
def _fixed_seed() -> None:
    torch.manual_seed(0)


_PAPER_SECTIONS = {
    "1 Introduction": "Rivers carry sediment from the mountains to the sea",
    "2 Methods": "We measured the turbidity of the water at every station",
    "3 Results": "The flux of sediment rose with the discharge of the river",
    "4 Conclusion": "Dams change the flux more than the climate does",
}
_PAPER_ABSTRACT = (
    "Sediment feeds deltas and fills reservoirs. We followed it along one river for eight years. "
    "The abstract alone says that the flux of sediment halved below every dam that we visited."
)


@pytest.fixture(scope="session")
def paper_text() -> str:
    """A paper of four sections with an abstract, each sentence different, in Markdown."""
    lines = ["# Sediment in rivers", "", "## Abstract", "", _PAPER_ABSTRACT, ""]
    for heading, opening in _PAPER_SECTIONS.items():
        sentences = [f"{opening}, which case {i} of {heading[2:]} shows." for i in range(8)]
        lines += [f"## {heading}", "", " ".join(sentences), ""]
    return "\n".join(lines)


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory, paper_text: str) -> Path:
    """Folder of an untrained model of the real kind: it picks real sentences, not good ones."""
    import sentencepiece

    from terraformer.checkpoint import save_checkpoint
    from terraformer.config import TerraformerConfig
    from terraformer.model import Terraformer

    folder = tmp_path_factory.mktemp("tiny")
    corpus = folder / "corpus.txt"
    corpus.write_text(paper_text, encoding="utf-8")
    sentencepiece.SentencePieceTrainer.train(
        input=str(corpus),
        model_prefix=str(folder / "tokenizer"),
        vocab_size=400,
        model_type="bpe",
        byte_fallback=True,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
    )
    torch.manual_seed(0)
    model = Terraformer(TerraformerConfig(vocab_size=400, d_model=32))
    save_checkpoint(folder, model, folder / "tokenizer.model")
    return folder


@pytest.fixture(scope="session")
def tiny_writer(tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: Path) -> Path:
    """Folder of an untrained model that writes: words of the source, in no good order."""
    from terraformer.attention_config import CrossAttentionConfig, FullAttentionConfig
    from terraformer.checkpoint import save_checkpoint
    from terraformer.config import EncoderDecoderConfig
    from terraformer.encoder_decoder import EncoderDecoder
    from terraformer.feed_forward_config import DenseFFConfig
    from terraformer.stack_config import CopyConfig, StackConfig
    from terraformer.writing_config import WritingConfig

    attention, feed_forward = FullAttentionConfig(2, rotary=True), DenseFFConfig(32)
    config = EncoderDecoderConfig(
        vocab_size=400,
        d_model=16,
        encoder=StackConfig(1, attention, feed_forward),
        decoder=StackConfig(
            *(1, attention, feed_forward),
            cross_attention=CrossAttentionConfig(n_heads=2),
            residual="standard",
        ),
        copy=CopyConfig(d_key=8),
        writing=WritingConfig(min_tokens=20, max_tokens=120, typical_words=30),
    )
    torch.manual_seed(1)
    model = EncoderDecoder(config)
    assert model.copy is not None
    with torch.no_grad():
        model.copy.gate.bias.fill_(-4.0)
        model.copy.query.weight.mul_(8.0)
    folder = tmp_path_factory.mktemp("writer")
    save_checkpoint(folder, model, tiny_checkpoint / "tokenizer.model")
    return folder


@pytest.fixture
def recite(monkeypatch: pytest.MonkeyPatch, tiny_writer: Path) -> Callable[[str], Any]:
    """Makes every model that writes write a given text; returns what stands in for its decoder."""
    from reciting import Reciting

    from terraformer import writer
    from terraformer.tokenizer import Tokenizer

    def use(text: str) -> Reciting:
        tokenizer = Tokenizer(tiny_writer / "tokenizer.model")
        decoder = Reciting(tokenizer.encode(text), tokenizer.vocab_size)
        monkeypatch.setattr(writer, "fast_or_plain", lambda *_: decoder)
        return decoder

    return use
