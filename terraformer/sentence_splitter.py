"""Sentence boundaries in scientific prose.

The boundaries are sentencex's (Wikimedia, MIT); what is added here is the scholarly layer it lacks:
abbreviations such as "Figs." and "et al.", initials, and brackets that are still open.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from sentencex.sentencex import get_sentence_boundaries

# Words after which a full stop is not the end of a sentence, in lower case.
_ABBREVIATIONS = frozenset(
    "al app apps approx art ca cf ch chap col cor corr def defs dept dr ed eds eq eqn eqns eqs"
    " ex exp expt e.g fig figs i.e incl lem lemm mr mrs ms no nos p pp par prof prop props pt pts"
    " ref refs resp s.t sec secs sect sp spp st subsec subsecs subsp suppl supp tab tabs thm thms"
    " viz vol vols vs w.r.t wt ver rev hon jr sr inc ltd co univ assoc a.k.a chr".split()
)
# Those of them that also end sentences: a capital letter after them opens a new one.
_AMBIGUOUS = frozenset("al no inc ltd co jr sr ex pt wt ed art col sp spp subsp chr".split())

# After some, a name in capitals does not: "Vibrio sp. EJY3", "chr. X".
_BEFORE_CAPITALS = frozenset("no sp spp subsp chr".split())
_CAPITALS = re.compile(r"[A-Z]{2,}\b|[A-Z]+-?\d|[IVXY]+\b")

_LAST_WORD = re.compile(r"([A-Za-z][A-Za-z.\-]*)\.[\"'”’)\]]*\s*$")
_LIST_ITEM = re.compile(r"\s*\(?(?:\d{1,2}|[a-z]|[ivx]{1,4})[.)]\s+(?=\S)")
_INITIAL = re.compile(r"(?:^|[\s(\[.])[A-Z]\.\s*$")
_SENTENCE_OPENING = re.compile(r"[\"'“‘(\[]*[A-Z]")
_MAX_OPEN_BRACKET = 300  # characters: beyond it, an unclosed bracket is taken for a slip


def split_sentences(text: str) -> list[tuple[int, int]]:
    """Returns the (start, end) character spans of the sentences of one paragraph.

    Spans are stripped of white space, ascending and disjoint, and together they hold every
    character of `text` that is not white space.
    """
    spans: list[tuple[int, int]] = []
    for start, end in _boundaries(text):
        while start < end and text[start].isspace():
            start += 1
        while end > start and text[end - 1].isspace():
            end -= 1
        if start == end:
            continue
        if spans and _continues(text[spans[-1][0] : spans[-1][1]], text[start:end]):
            spans[-1] = (spans[-1][0], end)
        else:
            spans.append((start, end))
    return spans


def _boundaries(text: str) -> Iterator[tuple[int, int]]:
    """Yields sentencex's sentences, and those within the items of a list, which it leaves whole."""
    for boundary in get_sentence_boundaries("en", text):
        start, end = boundary["start_index"], boundary["end_index"]
        item = _LIST_ITEM.match(text, start, end)
        if item is None:
            yield start, end
            continue
        for inner in get_sentence_boundaries("en", text[item.end() : end]):
            first = start if inner["start_index"] == 0 else item.end() + inner["start_index"]
            yield first, item.end() + inner["end_index"]


def _continues(before: str, after: str) -> bool:
    """Whether the boundary between two neighbours is a false one."""
    opens = _SENTENCE_OPENING.match(after) is not None
    last = _LAST_WORD.search(before)
    if last is not None:
        word = last.group(1).lower()
        if word in _BEFORE_CAPITALS and _CAPITALS.match(after):
            return True
        if word in _ABBREVIATIONS and not (opens and word in _AMBIGUOUS):
            return True
    if _INITIAL.search(before) and opens and len(before) < 60:
        return True
    if not any(character.isalnum() for character in after):
        return True  # a stray bracket or full stop belongs to what stands before it
    n_open = before.count("(") + before.count("[") - before.count(")") - before.count("]")
    return n_open > 0 and len(before) - before.rfind("(") < _MAX_OPEN_BRACKET and ")" in after
