from __future__ import annotations

from copy import deepcopy

import numpy as np

from terraformer.repetition import TrigramBlock


def block_after(ids: list[int], starts_word: list[bool] | None = None) -> TrigramBlock:
    block = TrigramBlock(None if starts_word is None else np.array(starts_word))
    for token in ids:
        block.add(token)
    return block


def test_the_third_word_of_a_known_trigram_is_blocked() -> None:
    ids = [5, 6, 7, 8, 5, 6]
    assert block_after(ids).blocked == {7}
    assert block_after([*ids, 9, 5, 6]).blocked == {7, 9}
    assert block_after([5, 6, 7, 8, 5]).blocked == set()
    assert block_after([5, 5, 5]).blocked == {5}


def test_words_are_blocked_at_their_start_and_never_bent() -> None:
    # Tokens 0 … 4 begin words, 5 … 9 go on with them: "0 5" and "0 6" are different words.
    starts = [True] * 5 + [False] * 5
    known = [0, 5, 1, 2, 7, 3]
    assert block_after([*known, 0, 5, 1], starts).blocked == {2}
    assert block_after([*known, 0, 6, 1], starts).blocked == set()
    assert block_after([*known, 0, 5, 1, 8], starts).blocked == set()
    # What has begun may go on, though "2 7" would have been the second of its kind.
    assert block_after([*known, 0, 5, 2], starts).blocked == set()
    assert block_after([0, 5, 5, 5, 5, 5], starts).blocked == set()


def test_numbers_may_come_again_after_the_same_words() -> None:
    free = np.array([False] * 6 + [True, False])
    block = TrigramBlock(None, free)
    for token in (2, 3, 6, 2, 3):
        block.add(token)
    assert block.blocked == set()
    for token in (7, 2, 3):
        block.add(token)
    assert block.blocked == {7}
    assert deepcopy(block).blocked == {7}


def test_numbers_do_not_come_a_third_time_in_a_row() -> None:
    # "10 , 10 , 10 ," of tokens 5 and 6, of which both may always end a trigram.
    free = np.ones(8, dtype=bool)
    starts = np.array([True] * 6 + [False] * 2)

    def after(ids: list[int]) -> TrigramBlock:
        block = TrigramBlock(starts, free)
        for token in ids:
            block.add(token)
        return deepcopy(block)

    assert after([1, *3 * [5, 6]]).blocked == set()
    assert after([1, *4 * [5, 6]]).blocked == {5}
    assert after([*2 * [2, 5, 6]]).blocked == {2}
    assert after([*2 * [2, 5, 6], 3]).blocked == set()
    # Within a word nothing is blocked.
    assert after([5, *4 * [6, 7]]).blocked == set()
    assert after([5, *6 * [6]]).blocked == set()


def test_no_text_that_obeys_repeats_three_words() -> None:
    random = np.random.default_rng(0)
    starts = [True] * 3 + [False] * 2
    block, ids = TrigramBlock(np.array(starts)), [0]
    block.add(0)
    for _ in range(300):
        choices = [token for token in range(5) if token not in block.blocked]
        ids.append(int(random.choice(choices)))
        block.add(ids[-1])
    words: list[tuple[int, ...]] = []
    for token in ids:
        words = [*words, (token,)] if starts[token] else [*words[:-1], (*words[-1], token)]
    starting = [
        (*words[i : i + 2], words[i + 2][0]) for i in range(len(words) - 2)
    ]  # the third by its first token
    assert len(set(starting)) == len(starting) > 50


def test_a_copy_goes_its_own_way() -> None:
    block = block_after([5, 6, 7, 5])
    other = deepcopy(block)
    block.add(6)
    other.add(9)
    other.add(5)
    assert block.blocked == {7}
    assert other.blocked == set()
