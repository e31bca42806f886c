"""How headings look: numbered, in capitals, or with a name that papers give their sections."""

from __future__ import annotations

import re

_NAMES = (
    r"abstract|introduction|background|motivation|overview|related works?|previous work|"
    r"prior work|literature review|preliminar(?:y|ies)|notations?|problem (?:setting|formulation|"
    r"statement|definition)|(?:materials? and )?methods?|methodology|methods? and materials?|"
    r"(?:our |proposed )?(?:approach|method|model)|theory|results?|(?:main|experimental|numerical|"
    r"empirical|simulation) results|results? and discussions?|experiments?|experimental "
    r"(?:setup|evaluation|section)|evaluation|analysis|discussions?|discussion and conclusions?|"
    r"conclusions?|concluding remarks|conclusions? and (?:future work|discussion|outlook)|summary|"
    r"summary and (?:conclusions?|discussion)|future works?|limitations|acknowledge?ments?|funding|"
    r"author contributions?|competing interests?|conflicts? of interests?|data availability|"
    r"ethics statement|broader impacts?|references|bibliography|literature cited|works cited|"
    r"appendix|appendices|supplementary materials?|supporting information"
)
_NUMBER = r"(?:\d{1,2}(?:\.\d{1,2}){0,3}|[IVX]{1,5}|[A-H](?:\.\d{1,2}){0,3})"
_NUMBERED = re.compile(
    rf"(?:(?:section|chapter|appendix) )?{_NUMBER}[.)]?\s+(?=[^\W\d_])(.+)", re.I
)
_KNOWN = re.compile(rf"(?:{_NUMBER}[.):]?\s+)?(?:{_NAMES})\s*[.:]?", re.IGNORECASE)
_ABSTRACT = re.compile(r"(?:abstract|executive summary)\s*[.:]?", re.IGNORECASE)
_RUN_IN_ABSTRACT = re.compile(r"(?:A\s?B\s?S\s?T\s?R\s?A\s?C\s?T|Abstract)\s*[.:—–-]*\s*(?=[A-Z])")
_ABSTRACT_PART = re.compile(
    r"background|objectives?|aims?|purpose|(?:materials? and )?methods?|design|setting|"
    r"participants|(?:main )?results?|findings|conclusions?|interpretation|"
    r"significance|trial registration",
    re.IGNORECASE,
)
_CONTENTS = re.compile(
    r"(?:table of )?contents|inhaltsverzeichnis|table des matières", re.IGNORECASE
)
_SPACED = re.compile(r"(?:\b[A-Z] ){3,}[A-Z]\b")
_REFERENCES = re.compile(
    rf"(?:{_NUMBER}[.):]?\s+)?(?:references(?: and notes| cited)?|bibliography|"
    r"literature cited|works cited|bibliographical references)\s*[.:]?",
    re.IGNORECASE,
)
_BACK_MATTER = re.compile(
    r"appendi|supplement|supporting|additional|proofs?\b|omitted|acknowledg|funding|"
    r"author contrib|competing|conflict|data avail|ethic|broader|[A-H](?:\.\d{1,2})*[.)]?\s+[A-Z]",
    re.IGNORECASE,
)
_INTRODUCTION = re.compile(rf"(?:{_NUMBER}[.):]?\s+)?introduction\b.*", re.IGNORECASE)
# A capital set larger than the small capitals after it, extracted apart: "I NTRODUCTION".
_SMALL_CAPITALS = re.compile(r"(?<![^\W_])([A-Z]) (?=[A-Z]{2,})")
_WORD = re.compile(r"[^\W\d_]{2,}")
_LONG_WORD = re.compile(r"[^\W\d_]{4,}")
_MAX_WORDS = 16


def mend_heading(text: str) -> str:
    """Joins letters set apart: "A BSTRACT" and "A B S T R A C T" become "ABSTRACT"."""
    text = _SPACED.sub(lambda match: match[0].replace(" ", ""), text)
    if text.upper() == text:
        text = _SMALL_CAPITALS.sub(_join_capital, text)
    return text


def _join_capital(match: re.Match[str]) -> str:
    # "A" may be an appendix's letter or the article: it is joined where a name comes of it.
    if match[1] not in "AI" or match.start() > 0:
        return match[1]
    follower = re.split(r"\W", match.string[match.end() :], maxsplit=1)[0]
    is_name = _KNOWN.fullmatch(match[1] + follower) is not None
    return match[1] if is_name else match[0]


def could_be_heading(text: str) -> bool:
    """Whether a line is short, has words, and does not end as a sentence does."""
    return (
        len(text.split()) <= _MAX_WORDS
        and _WORD.search(text) is not None
        and (not text.rstrip().endswith((".", ",", ";", ":")) or is_known(text))
        and not text.lstrip()[0].islower()
    )


def is_known(text: str) -> bool:
    """Whether a section of this name, numbered or not, is usual."""
    return _KNOWN.fullmatch(text.strip()) is not None


def is_numbered(text: str) -> bool:
    """Whether it begins with a section number and goes on with a capital letter."""
    match = _NUMBERED.fullmatch(text.strip())
    return match is not None and match[1][0].isupper() and _LONG_WORD.search(match[1]) is not None


def is_capitals(text: str) -> bool:
    """Whether its letters are capitals, in words rather than abbreviations."""
    letters = [c for c in text if c.isalpha()]
    return len(letters) > 4 and all(c.isupper() for c in letters)


def is_abstract(text: str) -> bool:
    return _ABSTRACT.fullmatch(text.strip()) is not None


def abstract_start(text: str) -> int:
    """Returns where the prose begins in "Abstract. We …" and its like, 0 in any other text."""
    match = _RUN_IN_ABSTRACT.match(text)
    return match.end() if match else 0


def opens_abstract(text: str) -> bool:
    """Whether a line is an abstract's heading, or begins with it."""
    return is_abstract(mend_heading(text)) or abstract_start(text) > 0


def is_abstract_part(text: str) -> bool:
    """Whether structured abstracts have a part of this name."""
    return _ABSTRACT_PART.fullmatch(text.strip(" .:")) is not None


def is_contents(text: str) -> bool:
    return _CONTENTS.fullmatch(text.strip(" .:")) is not None


def is_introduction(text: str) -> bool:
    return _INTRODUCTION.fullmatch(text.strip()) is not None


def is_references(text: str) -> bool:
    return _REFERENCES.fullmatch(text.strip()) is not None


def is_back_matter(text: str) -> bool:
    """Whether a heading after the references opens text again, such as an appendix."""
    return _BACK_MATTER.match(text.strip()) is not None
