"""Text broken into lines of a width, with words hyphenated at their ends."""

from __future__ import annotations

import re
from collections.abc import Callable

_CONSONANT = "bcdfghjklmnpqrstvwxz"
# After a vowel before a consonant and a vowel, and between two consonants among vowels.
_SYLLABLE = re.compile(
    rf"(?<=[aeiouy])(?=[{_CONSONANT}][aeiouy])"
    rf"|(?<=[aeiouy][{_CONSONANT}])(?=[{_CONSONANT}][aeiouy])"
)
_LETTERS = re.compile(r"[^\W\d_]+")
_MIN_PART = 3  # letters of a word on either side


class FontWidths:
    """Widths of text in a font, in font sizes."""

    def __init__(self, of_character: Callable[[str], float]) -> None:
        """Takes the width of one character; it is asked once for each."""
        self._of_character = of_character
        self._known: dict[str, float] = {}

    def of(self, text: str) -> float:
        """Returns the width of `text`."""
        for character in set(text) - self._known.keys():
            self._known[character] = self._of_character(character)
        return sum(map(self._known.__getitem__, text))


def break_lines(text: str, width: float, indent: float, widths: FontWidths) -> list[str]:
    """Breaks a paragraph into lines, each as full as it can be.

    Args:
        text: Words with single spaces between them.
        width: Of a line, in font sizes.
        indent: Of the first line, in font sizes.
        widths: Of the font.
    Returns:
        The lines; joined, without the hyphens added and with spaces at the other ends, they are
        the text. A piece wider than a line is cut anywhere.
    """
    lines: list[str] = []
    words: list[str] = []
    space = widths.of(" ")
    room = width - indent
    for word in text.split():
        rest = word
        while rest:
            needed = widths.of(rest)
            if needed <= room:
                words.append(rest)
                room -= needed + space
                break
            head, shown = _fitting_head(rest, room, widths)
            if not (head or words):
                head = shown = _cut(rest, room, widths)
            if head:
                words.append(shown)
                rest = rest[len(head) :]
            lines.append(" ".join(words))
            words, room = [], width
    if words:
        lines.append(" ".join(words))
    return lines


def _fitting_head(word: str, room: float, widths: FontWidths) -> tuple[str, str]:
    """Returns the longest head of a word that fits, and how it is set; empty if none does."""
    for place in reversed(hyphenation_places(word)):
        head = word[:place]
        shown = head if head.endswith("-") else f"{head}-"
        if widths.of(shown) <= room:
            return head, shown
    return "", ""


def hyphenation_places(word: str) -> list[int]:
    """Returns where a word may be broken, ascending: roughly between syllables, after hyphens."""
    places: set[int] = set()
    for part in _LETTERS.finditer(word):
        first, last = part.start() + _MIN_PART, part.end() - _MIN_PART
        if part.start() > 0 and word[part.start() - 1] == "-":
            places.add(part.start())
        lowered = part[0].lower()
        for match in _SYLLABLE.finditer(lowered if len(lowered) == len(part[0]) else ""):
            if first <= part.start() + match.start() <= last:
                places.add(part.start() + match.start())
    return sorted(places)


def _cut(word: str, room: float, widths: FontWidths) -> str:
    n = 1
    while n < len(word) and widths.of(word[: n + 1]) <= room:
        n += 1
    return word[:n]
