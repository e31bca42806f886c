"""What goes into and comes out of summarizing: options, and sentences with their provenance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from terraformer.writing_config import WritingConfig

if TYPE_CHECKING:
    from terraformer.document import Document

Mode = Literal["extract", "abstract"]
MODES: tuple[Mode, ...] = ("extract", "abstract")

Length = Literal["short", "normal", "long"]
LENGTHS: tuple[Length, ...] = ("short", "normal", "long")

# Called as (what is being done, units done, units in all); all three doors show progress with it.
Progress = Callable[[str, int, int], None]

# Called with a text as it is written: words, and the sentence once it is complete.
Written = Callable[[str, "SummarySentence | None"], None]


@dataclass(frozen=True)
class SummaryOptions:
    """How to summarize.

    Attributes:
        length: "normal" is about the length of a paper's abstract, "short" half and "long" twice
            that; or a number of words, of which the summary comes as near as whole sentences allow.
        order: "document" gives picked sentences in reading order, "picked" in the order of choice.
        mode: "extract" picks sentences of the document, "abstract" writes new ones; None does what
            the checkpoint was made for.
        strict: Whether written sentences with numbers or names that the document does not hold are
            left out, rather than marked.
        writing: How sentences are written; None takes the checkpoint's own settings.
    """

    length: Length | int = "normal"
    order: Literal["document", "picked"] = "document"
    mode: Mode | None = None
    strict: bool = False
    writing: WritingConfig | None = None

    def __post_init__(self) -> None:
        if isinstance(self.length, int):
            if self.length < 1:
                raise ValueError(f"length ({self.length}) must be at least one word")
        elif self.length not in LENGTHS:
            raise ValueError(f"length ({self.length!r}) must be one of {LENGTHS} or a number")
        if self.order not in ("document", "picked"):
            raise ValueError(f"order ({self.order!r}) must be 'document' or 'picked'")
        if self.mode not in (None, *MODES):
            raise ValueError(f"mode ({self.mode!r}) must be one of {MODES} or None")


@dataclass(frozen=True)
class SourceSentence:
    """Where a sentence of the document stands.

    Attributes:
        sentence: Its index in `document.sentences`.
        section: Heading of its section, empty if it has none.
        page: Its page, from 1; None where the source has no pages.
        start, end: Its character span in `document.text`.
    """

    sentence: int
    section: str
    page: int | None
    start: int
    end: int

    @classmethod
    def of(cls, document: Document, index: int) -> SourceSentence:
        """Returns the place of a document's sentence."""
        sentence = document.sentences[index]
        return cls(
            sentence=index,
            section=document.sections[sentence.section].heading,
            page=sentence.page,
            start=sentence.start,
            end=sentence.end,
        )


@dataclass(frozen=True)
class SummarySentence:
    """A sentence of a summary and the source sentences behind it.

    Attributes:
        text: The sentence; a picked one as `quoted` returns it.
        sentence, section, page, start, end: Of the source sentence that was picked, or is most like
            the written one; see `SourceSentence`. None and an empty section if there is none.
        others: Further source sentences behind a written one.
        unsupported: Numbers and names of a written sentence that the document does not hold.
    """

    text: str
    sentence: int | None
    section: str
    page: int | None
    start: int | None
    end: int | None
    others: tuple[SourceSentence, ...] = ()
    unsupported: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, text: str, sources: Sequence[SourceSentence], unsupported: tuple[str, ...] = ()
    ) -> SummarySentence:
        """Returns a sentence with the source sentences behind it, the most similar first."""
        if not sources:
            return cls(text, None, "", None, None, None, (), unsupported)
        first = sources[0]
        place = first.sentence, first.section, first.page, first.start, first.end
        return cls(text, *place, tuple(sources[1:]), unsupported)

    @property
    def sources(self) -> tuple[SourceSentence, ...]:
        """All source sentences behind it, the most similar first."""
        if self.sentence is None or self.start is None or self.end is None:
            return ()
        first = SourceSentence(self.sentence, self.section, self.page, self.start, self.end)
        return (first, *self.others)


@dataclass(frozen=True)
class Summary:
    """A summary: its sentences, and what a user should know about how it came about."""

    title: str
    sentences: tuple[SummarySentence, ...]
    notes: tuple[str, ...] = ()
    mode: Mode = "extract"

    @property
    def text(self) -> str:
        """The summary as one paragraph."""
        return " ".join(sentence.text for sentence in self.sentences)

    @property
    def n_words(self) -> int:
        return len(self.text.split())
