"""Characters and line ends of extracted text: ligatures, accents, hyphenation, debris."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence

from app.readers.block import Block, BlockKind

_LIGATURES = str.maketrans(
    {
        "ﬀ": "ff",
        "ﬁ": "fi",
        "ﬂ": "fl",
        "ﬃ": "ffi",
        "ﬄ": "ffl",
        "ﬅ": "st",
        "ﬆ": "st",
        "\u00ad": None,
        "\u200b": None,
        "\ufeff": None,
        "\u2010": "-",
        "\u2011": "-",
        "\u0002": "-",
        "\ufffe": "-",
    }
)
# An accent set as a letter of its own, as old TeX fonts have it: "Poincar´e".
_COMBINING = {"´": "\u0301", "¨": "\u0308", "ˆ": "\u0302", "˜": "\u0303"}
_COMBINING |= {"ˇ": "\u030c", "˚": "\u030a", "¸": "\u0327"}
_LOOSE_ACCENT = re.compile(r"([´¨ˇ˚¸])([A-Za-zı])|(?<=[a-z])([ˆ˜])([aeionuı])")
_STRAY_ACCENT = re.compile(r"(?<!\S)[´¨ˆ˜ˇ˚¸](?!\S)")
# Control characters, surrogates, private use and noncharacters.
_UNSEEN = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x9f\ud800-\uf8ff\ufffe\uffff]")
_SPACED_ELLIPSIS = re.compile(r"\. \. \.(?: \.)?")
_SPACES = re.compile(r"\s+")
_WORD = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*")
_LONG_WORD = re.compile(r"[^\W\d_]{3,}")
# Names of operators in formulas, which make no prose.
_OPERATORS = frozenset(
    "arg argmax argmin cos det diag dim exp inf lim log max min mod rank sin sup tan".split()
)
_HYPHEN_END = re.compile(r"([^\W\d_]+)-$")
_FIRST_WORD = re.compile(r"[^\W\d_]+")
# First parts of compounds that keep their hyphen when the document offers no other evidence.
_COMPOUND_PARTS = frozenset(
    ("self", "well", "non", "high", "low", "state", "long", "short", "ill", "so", "cross", "semi")
)


def normalize(text: str) -> str:
    """Returns `text` on one line, without ligatures, loose accents and control characters."""
    text = _STRAY_ACCENT.sub("", _LOOSE_ACCENT.sub(_compose, text.translate(_LIGATURES)))
    return _SPACED_ELLIPSIS.sub("…", _SPACES.sub(" ", _UNSEEN.sub("", text))).strip()


def _compose(match: re.Match[str]) -> str:
    accent, letter = match[1] or match[3], match[2] or match[4]
    letter = "i" if letter == "ı" else letter
    composed = unicodedata.normalize("NFC", letter + _COMBINING[accent])
    return composed if len(composed) == 1 else match[0]


def is_debris(line: str, min_share: float = 0.4) -> bool:
    """Whether a line is a formula, a table row or a label rather than prose.

    Args:
        line: The line, normalized.
        min_share: Least share of its characters that stand in words of three letters or more.
    """
    n_characters = len(line) - line.count(" ")
    in_words = sum(len(word) for word in _words(line))
    return in_words < min_share * n_characters or n_characters == 0


def has_word(line: str) -> bool:
    """Whether a line has a word of three letters or more that is no operator's name."""
    return bool(_words(line))


def _words(line: str) -> list[str]:
    return [word for word in _LONG_WORD.findall(line) if word not in _OPERATORS]


class LineJoiner:
    """Joins the lines of a paragraph and mends the words broken at their ends.

    A broken word loses its hyphen or keeps it by what the rest of the document shows.
    """

    def __init__(self, lines: Iterable[str]) -> None:
        self._counts: Counter[str] = Counter()
        for line in lines:
            self._counts.update(word.lower() for word in _WORD.findall(line))
        compounds = [word.split("-") for word in self._counts if "-" in word]
        self._heads = frozenset(parts[0] for parts in compounds)
        self._tails = frozenset(parts[-1] for parts in compounds)

    def join(
        self, kind: BlockKind, lines: Sequence[tuple[str, int | None]], style: str = ""
    ) -> Block:
        """Returns one block of (text, page) pairs; a page of None means a source without pages."""
        text = ""
        page_starts: list[tuple[int, int]] = []
        for line, page in lines:
            line = line.strip()
            if not line:
                continue
            if text:
                text = self._meet(text, line)
            if page is not None and (not page_starts or page_starts[-1][1] != page):
                page_starts.append((len(text), page))
            text += line
        return Block(kind, text, tuple(page_starts), style)

    def join_blocks(self, first: Block, second: Block) -> Block:
        """Returns a paragraph of two, where the second goes on with the first's sentence."""
        text = self._meet(first.text, second.text)
        last_page = first.page_starts[-1][1] if first.page_starts else None
        starts = first.page_starts + tuple(
            (len(text) + offset, page)
            for offset, page in second.page_starts
            if offset or page != last_page
        )
        return Block(first.kind, text + second.text, starts, first.style)

    def _meet(self, text: str, line: str) -> str:
        """Returns `text` as it must end for `line` to follow it."""
        broken, follower = _HYPHEN_END.search(text), _FIRST_WORD.match(line)
        if broken is None or follower is None:
            return text if text.endswith("-") and not text.endswith(" -") else text + " "
        head, tail = broken[1].lower(), follower[0].lower()
        whole, compound = self._counts[head + tail], self._counts[f"{head}-{tail}"]
        if compound > whole or not follower[0][0].islower():
            return text
        if whole:
            return text[:-1]
        # Once each is where the word broke.
        are_words = min(self._counts[head], self._counts[tail]) > 1
        are_compounded = head in self._heads or tail in self._tails
        keeps = (
            (are_words and are_compounded and len(head) > 2)
            or head in _COMPOUND_PARTS
            or text[: broken.start()].endswith("-")
        )
        return text if keeps else text[:-1]
