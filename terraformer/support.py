"""What a written sentence states that its source does not hold: numbers and names."""

from __future__ import annotations

import re
from typing import NamedTuple

# Digits right after a letter belong to a name, such as "H1N1".
_NUMBER = re.compile(r"(?<![^\W_])(?:\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)")
_WORD = re.compile(r"[^\W_]+")


class Unsupported(NamedTuple):
    """What of a sentence its source does not hold, as it is written.

    Attributes:
        numbers: Those of no value that the source has.
        names: Those that the source does not have in any case.
    """

    numbers: tuple[str, ...]
    names: tuple[str, ...]


class SourceSupport:
    """The numbers and words of a source text, read once for any number of sentences."""

    def __init__(self, source: str) -> None:
        """Takes the whole source text, its title included."""
        self._numbers = frozenset(map(value_of, numbers_of(source)))
        self._words = frozenset(_WORD.findall(source.lower()))

    def lacks(self, sentence: str) -> Unsupported:
        """Returns the numbers and names of a sentence that the source does not hold.

        A number is supported if the source has one of the same value, a name if the source has that
        word. That the source says it of the same thing is not checked.
        """
        return Unsupported(
            tuple(n for n in numbers_of(sentence) if value_of(n) not in self._numbers),
            tuple(name for name in names_of(sentence) if name.lower() not in self._words),
        )


def numbers_of(text: str) -> list[str]:
    """Returns the numbers written in digits, without signs and units.

    A hyphen may be a minus, a dash or part of a name, so it is left out.
    """
    return _NUMBER.findall(text)


def value_of(number: str) -> str:
    """Returns one way of writing for all of a value: "1000" for "1,000" and "1000.0"."""
    whole, _, fraction = number.replace(",", "").partition(".")
    fraction = fraction.rstrip("0")
    return (whole.lstrip("0") or "0") + (f".{fraction}" if fraction else "")


def names_of(sentence: str) -> list[str]:
    """Returns the capitalised words that have two letters or more.

    The first word of a sentence, or after a colon, counts only with a capital within, as in "BERT".
    """
    names: list[str] = []
    end = 0
    for match in _WORD.finditer(sentence):
        word, gap = match[0], sentence[end : match.start()]
        letters = [character for character in word if character.isalpha()]
        opens = end == 0 or ":" in gap
        end = match.end()
        if len(letters) > 1 and any(letter.isupper() for letter in letters[opens:]):
            names.append(word)
    return names
