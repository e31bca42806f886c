from __future__ import annotations

import unicodedata

import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune.train_tokenizer import paragraphs, train_tokenizer
from terraformer.tokenizer import EOS_ID, PAD_ID, UNK_ID, Tokenizer

NUMBERS = "one two three four five six seven eight nine ten".split()
ROWS = [
    {
        "abstract": f"Sediment of {number} rivers feeds <dig> deltas.",
        "sections": [{"heading": "H", "text": f"Dam {number} holds sediment.\nFlux {number}."}],
    }
    for number in NUMBERS
]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.model"
    rows = Dataset.from_list(ROWS)
    train_tokenizer(rows, path, vocab_size=292, n_sentences=1000, n_threads=1)
    return Tokenizer(path)


def test_special_ids_are_where_the_model_expects_them(tokenizer: Tokenizer) -> None:
    assert tokenizer.vocab_size == 292
    assert [tokenizer._model.id_to_piece(i) for i in (PAD_ID, EOS_ID, UNK_ID)] == [
        *("<pad>", "</s>", "<unk>"),
    ]


def test_the_number_of_lower_cased_papers_is_one_piece(tokenizer: Tokenizer) -> None:
    assert "<dig>" in tokenizer._model.encode("about <dig> rivers", out_type=str)


def test_digits_stand_alone(tokenizer: Tokenizer) -> None:
    pieces = tokenizer._model.encode("2024", out_type=str)
    assert len([piece for piece in pieces if piece != "▁"]) >= 4


TEXTS = st.lists(st.text(st.characters(categories=["L", "Nd"]), min_size=1, max_size=9), max_size=6)


@settings(max_examples=100, deadline=None)
@given(TEXTS.map(" ".join).filter(lambda text: unicodedata.normalize("NFKC", text) == text))
def test_bytes_carry_what_no_piece_holds(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text)
    assert UNK_ID not in ids
    assert tokenizer.decode(ids) == text


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=40))
def test_coming_back_once_is_coming_back_always(tokenizer: Tokenizer, text: str) -> None:
    once = tokenizer.decode(tokenizer.encode(text))
    assert tokenizer.decode(tokenizer.encode(once)) == once


def test_abstracts_and_lines_are_read_in_pieces() -> None:
    rows = [
        {"abstract": "A.", "sections": [{"heading": "H", "text": "abcdef\ngh"}]},
        {"abstract": "B.", "article": "ij"},
    ]
    assert list(paragraphs(rows, max_characters=4)) == ["A.", "abcd", "ef", "gh", "B.", "ij"]
