"""How a sentence of a document is quoted where it stands alone."""

from __future__ import annotations

import re

_KIND = (
    r"(?:(?:[Ff]ig(?:ure)?|FIG(?:URE)?|[Tt]able|TABLE|Tab|[Ee]q(?:uation)?|Sec(?:tion)?|Appendix|"
    r"File|Movie|Video|[Rr]ef)s?\b\.?|(?:[Ff]ig|[Tt]ab|[Rr]ef)s?\.?(?=\d))"
)
_ELSEWHERE = r"(?:[Ss]upplement(?:ary|al)|[Ss]upporting|[Aa]dditional|[Ee]xtended [Dd]ata)\s+"
_LABEL = (
    r"(?!\d+\s?(?:h|d|s|m|min)\b)(?:[A-Za-z]?\d{1,3}(?:\.\d+)*[A-Za-z]?|[IVX]+|[A-Za-z])\b"
    r"(?:\s?[-–]\s?[A-Za-z\d]{1,3}\b)?(?:—(?:figure supplement|source data) \w{1,3})?"
)
_FLOAT = (
    rf"(?:(?:{_ELSEWHERE})?{_KIND}\s*{_LABEL}|{_ELSEWHERE}[Ff]iles?\s*{_LABEL}|"
    rf"S\d{{1,3}}\s+{_KIND})"
)
_FLOATS = (
    rf"(?:see\s+)?(?:also\s+)?{_FLOAT}(?:\s*(?:[,:&]|and\b)\s*(?:and\s+)?(?:{_FLOAT}|{_LABEL}))*"
)

_NO_NAME = (
    r"(?!(?:Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?|"
    r"Sept?(?:ember)?|Oct(?:ober)?|Nov(?:ember)?|Dec(?:ember)?|Spring|Summer|Autumn|Fall|Winter)\b)"
)
_NAME = rf"{_NO_NAME}(?:(?:van|von|de|der|den|di|da|la|le)\s+)*[^\W\d_a-z][\w’'.-]+"
_YEARS = r"(?:19|20)\d\d[a-z]?(?:,\s*(?:(?:19|20)\d\d[a-z]?|[a-z]\b))*(?:,\s*pp?\.\s*\d[\d–-]*)?"
_WORK = (
    rf"(?:(?:see(?:\s+also)?|e\.g\.|cf\.|reviewed in),?\s+)?"
    rf"{_NAME}(?:(?:,?\s+(?:and|&)|,)?\s+{_NAME})*(?:\s+et\s+al\.?)?,?\s+{_YEARS}"
)
_ITEM = rf"(?:{_FLOATS}|{_WORK})"
_BRACKET = rf"\(\s*{_ITEM}(?:\s*[;,]\s*(?:and\s+)?{_ITEM})*\s*\)"
_REFERENCES = re.compile(rf"(?<=\S)\s+{_BRACKET}(?:\s+(?:(?:and|or)\s+)?{_BRACKET})*")
# A lone name and a year may be a place: "(Wuhan, 2019)".
_HAS_AUTHORS = re.compile(r"\bet\s+al\b|\band\b|&")
_HAS_YEAR = re.compile(r"\b(?:19|20)\d\d")
# After these a reference is what the sentence speaks of: "based on (Li et al., 2004)".
_LEADS_TO_IT = re.compile(
    r".*[,;:]|\W*(?:a|about|after|against|and|apply|are|as|at|based|before|between|both|but|by|"
    r"combine|combining|compare|consider|e\.g\.|either|extend|extending|extends|for|from|given|"
    r"giving|gives|i\.e\.|in|into|is|like|of|on|or|over|satisfies|satisfy|satisfying|see|solve|"
    r"solving|substituting|than|that|the|through|to|under|unlike|use|used|uses|using|via|was|were|"
    r"where|while|with|within|follow|following|follows)",
    re.IGNORECASE,
)

_MARK = re.compile(
    r"\s*(?:[•◦▪‣●■·*]\s+(?=\w)|[-–−]\s+(?=[^\W\d_])|"
    r"(?:\(?(?:\d{1,2}|[a-z]|[ivx]{1,4})\)|(?:\d{1,2}|[a-z])\.)\s+(?=[A-Z]))"
)
_INNER_ENUMERATOR = re.compile(r"\s\(?(?:\d{1,2}|[a-z]|[ivx]{1,4})\)\s")


def quoted(sentence: str) -> str:
    """Returns a sentence without what belongs to its place in the document.

    That is the mark of a list before it, but for the first of several within it, and references in
    brackets that nothing else stands in and that the sentence is not built on: "(Fig. 2A)" or
    "(Li et al., 2004)". They point to what a summary does not have. In doubt a bracket stays.
    """
    mark = None if _INNER_ENUMERATOR.search(sentence, 4) else _MARK.match(sentence)
    start = 0 if mark is None else mark.end()
    return _REFERENCES.sub(_kept, sentence[start:])


def _kept(found: re.Match[str]) -> str:
    before, text = found.string[: found.start()].rsplit(maxsplit=1)[-1], found[0]
    is_place = _HAS_YEAR.search(text) is not None and _HAS_AUTHORS.search(text) is None
    goes_on = found.string[found.end() : found.end() + 1].isalnum()
    return text if is_place or goes_on or _LEADS_TO_IT.fullmatch(before) else ""
