from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from terraformer.document import Document
from terraformer.errors import CheckpointError
from terraformer.tokenizer import EOS_ID, PAD_ID, UNK_ID, Tokenizer


@pytest.fixture(scope="module")
def tokenizer(tiny_checkpoint: Path) -> Tokenizer:
    return Tokenizer(tiny_checkpoint / "tokenizer.model")


TEXTS = st.lists(
    st.text(st.characters(categories=["L", "Nd"]), min_size=1, max_size=12), max_size=6
)


@settings(max_examples=100, deadline=None)
@given(TEXTS.map(" ".join).filter(lambda text: unicodedata.normalize("NFKC", text) == text))
def test_any_text_comes_back_and_nothing_is_unknown(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text)
    assert not {PAD_ID, EOS_ID, UNK_ID}.intersection(ids)
    assert all(0 <= id_ < tokenizer.vocab_size for id_ in ids)
    assert tokenizer.decode(ids) == text


def test_a_document_is_title_headings_and_sentences_in_order(tokenizer: Tokenizer) -> None:
    document = Document.from_sections(
        [("Intro", "One is here. Two is there."), ("Empty", ""), ("", "Three."), ("End", "Four.")],
        title="The title",
    )
    tokenized = tokenizer.encode_document(document)
    parts = [
        *((-1, "The title"), (-1, "Intro"), (0, "One is here."), (1, "Two is there.")),
        *((2, "Three."), (-1, "End"), (3, "Four.")),
    ]
    pieces = [(owner, tokenizer.encode(text)) for owner, text in parts]
    assert tokenized.ids.tolist() == [id_ for _, ids in pieces for id_ in ids]
    assert tokenized.sentence_of_token.tolist() == [owner for owner, ids in pieces for _ in ids]
    assert tokenized.ids.dtype == tokenized.sentence_of_token.dtype == np.int32


@pytest.mark.parametrize("content", [None, b"", b"no model"], ids=["missing", "empty", "other"])
def test_what_is_no_model_is_an_error_of_one_line(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "tokenizer.model"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match="no sentencepiece model at") as caught:
        Tokenizer(path)
    assert "\n" not in str(caught.value)
