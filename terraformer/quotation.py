"""How a sentence of a document is quoted where it stands alone."""

from __future__ import annotations

import re

_KIND = r"(?:fig(?:ure)?|tab(?:le)?|sec(?:tion)?|eq(?:uation)?|appendix|file|movie|video)s?\b\.?"
_LABEL = (
    r"(?:[A-Za-z]?\d{1,3}(?:\.\d+)*[A-Za-z]?|[A-Za-z])\b"
    r"(?:\s?[-–]\s?[A-Za-z\d]{1,3}\b)?(?:—(?:figure supplement|source data) \w{1,3})?"
)
_FROM_ELSEWHERE = r"(?:(?:supplementary|supplemental|supporting|additional|extended data)\s+)?"
_AND = r"\s*(?:[,;:&]|\band\b)\s*(?:and\s+)?"
_FLOAT = rf"{_FROM_ELSEWHERE}(?:{_KIND}\s*{_LABEL}|S\d{{1,3}}\s+{_KIND})"
_FLOATS = rf"(?:see\s+)?(?:also\s+)?{_FLOAT}(?:{_AND}(?:{_FLOAT}|{_LABEL}))*"

_MONTH = r"(?:Jan|Feb|Mar|Apr|May|June?|July?|Aug|Sept?|Oct|Nov|Dec)[a-z]*\b"
_NAME = rf"(?!{_MONTH})(?:(?:van|von|de|der|den|di|da|la|le)\s+)*[A-Z][\w’'.-]*"
_YEARS = r"(?:19|20)\d\d[a-z]?(?:,\s*(?:(?:19|20)\d\d[a-z]?|[a-z]\b))*"
_WORK = rf"{_NAME}(?:(?:,?\s+(?:and|&)|,)?\s+{_NAME})*(?:,|\s+et\s+al\.?,?)\s*{_YEARS}"
_WORKS = rf"(?:(?:see(?:\s+also)?|e\.g\.|cf\.|reviewed in),?\s+)?{_WORK}(?:\s*[;,]\s*{_WORK})*"

_REFERENCES = re.compile(rf"(?<=\S)(?:\s+\((?:(?i:{_FLOATS})|{_WORKS})\))+")
# After these a reference is what the sentence speaks of: "as in (Li et al., 2004)".
_LEADS_TO_IT = re.compile(
    r"\W*(?:in|of|by|from|to|with|at|than|and|or|see|via|like|unlike|following|follow|follows)",
    re.IGNORECASE,
)

_BULLET = re.compile(r"\s*[•◦▪‣●■–−·*-]\s+(?=\w)")
_ENUMERATOR = re.compile(
    r"\s*(?:\(?(?:\d{1,2}|[a-z]|[ivx]{1,4})\)\s+(?=\w)|(?:\d{1,2}|[a-z])\.\s+(?=[A-Z]))"
)
_INNER_ENUMERATOR = re.compile(r"\s\(?(?:\d{1,2}|[a-z]|[ivx]{1,4})\)\s")


def quoted(sentence: str) -> str:
    """Returns a sentence without what belongs to its place in the document.

    That is the mark of a list before it, but for the first of several within it, and references in
    brackets, "(Fig. 2A)" or "(Li et al., 2004)": they point to what a summary does not have. All
    else in brackets is kept, "(Table 1; p < 0.01)" too, and so are references that the sentence is
    built on, as in "Li et al. (2004) show".
    """
    mark = _BULLET.match(sentence)
    if mark is None and not _INNER_ENUMERATOR.search(sentence, 4):
        mark = _ENUMERATOR.match(sentence)
    start = 0 if mark is None else mark.end()
    return _REFERENCES.sub(_kept, sentence[start:])


def _kept(found: re.Match[str]) -> str:
    word = found.string[: found.start()].rsplit(maxsplit=1)[-1]
    return found[0] if _LEADS_TO_IT.fullmatch(word) else ""
