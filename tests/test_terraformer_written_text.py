from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from terraformer.length_goal import LengthGoal, LengthLimit
from terraformer.sentence_splitter import split_sentences
from terraformer.tokenizer import EOS_ID, Tokenizer
from terraformer.written_text import (
    ends_with_sentence,
    iterate_pieces,
    iterate_words,
)

TEXTS = [
    "The flux rose. It fell again (p < 0.05, see Fig. 3). Dams change rivers more than climate.",
    "Smith et al. measured 3.5 mg of sediment, e.g. sand. What followed? “It settled.” So we left",
    "One",
    "Tiefe Wässer — naïve. Čistá voda 水が流れる。 Both names stayed whole.",
    "A list follows. (a) It begins here. (b) It ends here.",
    "",
]


@pytest.fixture(scope="module")
def tokenizer(tiny_checkpoint: Path) -> Tokenizer:
    return Tokenizer(tiny_checkpoint / "tokenizer.model")


@pytest.mark.parametrize("text", TEXTS)
def test_words_come_whole_and_together_are_the_text(text: str, tokenizer: Tokenizer) -> None:
    words = list(iterate_words(tokenizer.encode(text), tokenizer))
    assert "".join(words) == text
    assert [word.split() for word in words] == [[word] for word in text.split()]


def test_a_word_is_told_as_soon_as_the_next_one_begins(tokenizer: Tokenizer) -> None:
    told: list[str] = []

    ids = tokenizer.encode("The flux rose")
    first_of_second = next(i for i, token in enumerate(ids) if i and tokenizer.starts_word[token])
    read: list[int] = []

    def watched() -> Iterator[int]:
        for token in ids:
            read.append(token)
            yield token

    words = iterate_words(watched(), tokenizer)
    told.append(next(words))
    assert told == ["The"]
    assert len(read) == first_of_second + 1


@pytest.mark.parametrize("text", TEXTS)
def test_pieces_make_the_sentences_of_the_whole_text(text: str) -> None:
    words = [word if i == 0 else f" {word}" for i, word in enumerate(text.split())]
    sentences, current = [], ""
    for piece in iterate_pieces(words):
        current += piece.text
        if piece.ends_sentence:
            sentences.append(current)
            current = ""
    assert current == ""
    assert sentences == [text[start:end] for start, end in split_sentences(text)]


def test_every_word_is_told_when_it_comes() -> None:
    words = ["The", " flux", " rose.", " (It", " fell.)", " Then"]
    told: list[str] = []

    def source() -> Iterator[str]:
        for i, word in enumerate(words):
            assert "".join(told).split() == "".join(words[:i]).split()
            yield word

    for piece in iterate_pieces(source()):
        told.append(piece.text + " " * piece.ends_sentence)
    assert "".join(told) == "The flux rose. (It fell.) Then "


@pytest.mark.parametrize(
    ("text", "ends"),
    [
        ("The flux rose.", True),
        ("Smith et al.", True),  # a capital letter after it opens a sentence
        ("as shown in Fig.", False),
        ("The flux rose", False),
        ("It fell (p < 0.05).", True),
        ("What followed?", True),
        ("", False),
    ],
)
def test_ends_of_sentences(text: str, ends: bool) -> None:
    assert ends_with_sentence(text) is ends


def end_of(text: str, n_words: int, tokenizer: Tokenizer) -> str:
    """What a goal leaves of a text that is offered token by token."""
    goal, ids = LengthGoal(n_words, tokenizer), []
    for token in tokenizer.encode(text):
        if goal.ends(ids, token):
            break
        ids.append(token)
    return tokenizer.decode(ids)


SENTENCE = "The flux of Fig. 3 rose by 0.5 units there."  # ten words


@pytest.mark.parametrize(
    ("n_words", "n_sentences"), [(1, 1), (10, 1), (14, 1), (16, 2), (24, 2), (26, 3), (100, 10)]
)
def test_a_text_ends_at_the_sentence_nearest_to_the_goal(
    n_words: int, n_sentences: int, tokenizer: Tokenizer
) -> None:
    text = " ".join([SENTENCE] * 20)
    assert end_of(text, n_words, tokenizer) == " ".join([SENTENCE] * n_sentences)


def test_the_model_may_end_from_half_of_the_goal_on(tokenizer: Tokenizer) -> None:
    goal, limit = LengthGoal(40, tokenizer), LengthLimit(40, tokenizer)
    one, two = (tokenizer.encode(" ".join([SENTENCE] * n)) for n in (1, 2))
    assert not goal.may_end(one)
    assert limit.may_end(one)
    assert not limit.may_end([])
    assert goal.may_end(two)
    assert goal.ends(two, EOS_ID)
    assert goal.max_tokens > len(tokenizer.encode(" ".join([SENTENCE] * 3))) / 3


def test_only_words_that_count_bring_the_goal_nearer(tokenizer: Tokenizer) -> None:
    text = " ".join([SENTENCE] * 20)
    goal = LengthGoal(20, tokenizer, count=lambda text: len(text.split()) // 2)
    ids: list[int] = []
    for token in tokenizer.encode(text):
        if goal.ends(ids, token):
            break
        ids.append(token)
    assert tokenizer.decode(ids) == " ".join([SENTENCE] * 4)
