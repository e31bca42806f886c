"""What goes into and comes out of summarizing: options, and sentences with their provenance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Length = Literal["short", "normal", "long"]
LENGTHS: tuple[Length, ...] = ("short", "normal", "long")

# Called as (what is being done, units done, units in all); all three doors show progress with it.
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class SummaryOptions:
    """How to summarize.

    Attributes:
        length: "normal" is about the length of a paper's abstract, "short" half and "long" twice
            that; or a number of words, of which the summary comes as near as whole sentences allow.
        order: "document" gives the sentences in reading order, "picked" in the order of choice.
    """

    length: Length | int = "normal"
    order: Literal["document", "picked"] = "document"

    def __post_init__(self) -> None:
        if isinstance(self.length, int):
            if self.length < 1:
                raise ValueError(f"length ({self.length}) must be at least one word")
        elif self.length not in LENGTHS:
            raise ValueError(f"length ({self.length!r}) must be one of {LENGTHS} or a number")
        if self.order not in ("document", "picked"):
            raise ValueError(f"order ({self.order!r}) must be 'document' or 'picked'")


@dataclass(frozen=True)
class SummarySentence:
    """A sentence of a summary and the source sentence behind it.

    Attributes:
        text: The sentence.
        sentence: Index of the source sentence in `document.sentences`.
        section: Heading of its section, empty if it has none.
        page: Its page, from 1; None where the source has no pages.
        start, end: Its character span in `document.text`.
    """

    text: str
    sentence: int
    section: str
    page: int | None
    start: int
    end: int


@dataclass(frozen=True)
class Summary:
    """A summary: its sentences, and what a user should know about how it came about."""

    title: str
    sentences: tuple[SummarySentence, ...]
    notes: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The summary as one paragraph."""
        return " ".join(sentence.text for sentence in self.sentences)

    @property
    def n_words(self) -> int:
        return len(self.text.split())
