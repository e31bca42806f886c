"""What a section is for, told by its heading."""

from __future__ import annotations

import re
from enum import StrEnum


class SectionKind(StrEnum):
    """The parts of a paper that differ in what a summary takes from them."""

    INTRODUCTION = "introduction"
    BACKGROUND = "background"
    METHODS = "methods"
    RESULTS = "results"
    DISCUSSION = "discussion"
    CONCLUSION = "conclusion"
    LIMITATIONS = "limitations"
    APPENDIX = "appendix"
    OTHER = "other"


_NUMBERING = re.compile(
    r"^\s*(?:section\s+)?(?:\d+(?:\.\d+)*|[ivx]+|[a-h])\s*[.):]?\s+", re.IGNORECASE
)
# A small capital set as a letter of its own, as PDF text has it: "C ONCLUSION".
_SPLIT_CAPITAL = re.compile(r"\b([A-Z]) ([A-Z]{2,})\b")

# Ordered: the first pattern found decides, so that "results and discussion" is results.
_PATTERNS: tuple[tuple[SectionKind, re.Pattern[str]], ...] = tuple(
    (kind, re.compile(pattern))
    for kind, pattern in (
        (
            SectionKind.APPENDIX,
            r"^appendi|supplement|^proofs? of|^additional|acknowledg|funding|ethic|"
            r"author contribution|conflict|data availability|trial status|abbreviation",
        ),
        (
            SectionKind.LIMITATIONS,
            r"^(?:\w+ and )?limitations?$|"
            r"future work$(?<!conclusion and future work)(?<!conclusions and future work)|"
            r"^future directions?|threats to validity|broader impact",
        ),
        (SectionKind.CONCLUSION, r"conclusion|concluding|^summary|^closing|^final remarks"),
        (
            SectionKind.INTRODUCTION,
            r"^introduction|^motivation|^overview|^main$|^main text$|contributions?$|"
            r"^objectives?$|^aims?\b",
        ),
        (
            SectionKind.BACKGROUND,
            r"^background|related ?works?|previous work|prior work|literature|preliminar|"
            r"notations?$|^state of the art",
        ),
        (
            SectionKind.RESULTS,
            r"result|experiments?\b|evaluation|finding|ablation|performance|simulation|"
            r"case stud|analysis$|comparison",
        ),
        (SectionKind.DISCUSSION, r"discussion"),
        (
            SectionKind.METHODS,
            r"method|material|approach|model|algorithm|procedure|design|patients|subjects|"
            r"participants|data|setup|set-up|setting|implementation|architecture|problem|"
            r"formulation|theor|assumption|statistical|training|framework|system|protocol",
        ),
    )
)


def classify_heading(heading: str) -> SectionKind:
    """Returns the kind of section that `heading` announces; numbering and case do not matter."""
    mended = _SPLIT_CAPITAL.sub(r"\1\2", heading)
    bare = _NUMBERING.sub("", mended).strip(" .:\t").lower()
    for kind, pattern in _PATTERNS:
        if pattern.search(bare):
            return kind
    return SectionKind.OTHER
