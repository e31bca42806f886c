from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from transformers import BertConfig, BertModel, BertTokenizer

from finetune.piece_vectors import piece_vectors
from finetune.start import start_vectors
from terraformer.build import build_model
from terraformer.checkpoint import load_model
from terraformer.errors import TerraformerError
from terraformer.tokenizer import Tokenizer


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("encoder")
    letters = "abcdefghijklmnopqrstuvwxyz0123456789.,"
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{x}" for x in letters)]
    (folder / "vocab.txt").write_text("\n".join(words))
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=128,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=64,
    )
    BertModel(config).save_pretrained(folder)
    BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    return folder


def test_pieces_of_one_spelling_are_one_vector_and_others_are_not(
    encoder: Path, tiny_checkpoint: Path
) -> None:
    tokenizer = Tokenizer(tiny_checkpoint / "tokenizer.model")
    vectors = piece_vectors(tokenizer, encoder, 8)
    assert vectors.shape == (tokenizer.vocab_size, 8)
    assert np.linalg.norm(vectors, axis=1).max() <= 1 + 1e-6
    by_text: dict[str, list[int]] = {}
    for piece in range(300, tokenizer.vocab_size):
        by_text.setdefault(tokenizer.decode([piece]).strip().lower(), []).append(piece)
    same = next(pieces for text, pieces in by_text.items() if text and len(pieces) > 1)
    directions = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    assert directions[same[0]] @ directions[same[1]] == pytest.approx(1, abs=1e-5)
    texts = [text for text in by_text if text.isalpha()]
    one, other = by_text[texts[0]][0], by_text[texts[1]][0]
    assert directions[one] @ directions[other] < 0.999


def test_a_training_starts_from_them(encoder: Path, tiny_checkpoint: Path) -> None:
    model = build_model(load_model(tiny_checkpoint)[0].config)
    tokenizer_path = tiny_checkpoint / "tokenizer.model"
    start_vectors(model, tokenizer_path, str(encoder))
    table = next(part for part in model.embedding.modules() if isinstance(part, nn.Embedding))
    expected = piece_vectors(Tokenizer(tokenizer_path), encoder, table.embedding_dim)
    assert np.array_equal(table.weight.detach().numpy(), expected)


def test_a_missing_or_narrow_encoder_is_named(
    encoder: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    tokenizer = Tokenizer(tiny_checkpoint / "tokenizer.model")
    with pytest.raises(TerraformerError, match="no encoder"):
        piece_vectors(tokenizer, tmp_path / "nothing", 8)
    with pytest.raises(TerraformerError, match="128 wide, the embeddings 256"):
        piece_vectors(tokenizer, encoder, 256)
