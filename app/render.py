"""A summary as text, Markdown or JSON, each sentence with the page and section it comes from."""

from __future__ import annotations

import json
import re
import textwrap
from dataclasses import asdict
from typing import Any, Literal

from terraformer.document import Document
from terraformer.summary import Length, SourceSentence, Summary, SummarySentence

Format = Literal["text", "markdown", "json"]
FORMATS: tuple[Format, ...] = ("text", "markdown", "json")
SUFFIXES: dict[Format, str] = {"text": ".txt", "markdown": ".md", "json": ".json"}

# Control characters can move a terminal's cursor or recolour it; no prose needs them.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
# Only what CommonMark would act on: a plain "p < 0.05" or "[12]" stays as it is.
_MARKDOWN_ACTIVE = re.compile(
    r"[\\`*]|(?<![^\W_])_|_(?![^\W_])|<(?=[A-Za-z/!?])|\](?=\()|&(?=#?\w+;)|(?<=^)[#>+](?=\s)"
)


def render(
    summary: Summary,
    document: Document,
    *,
    source: str,
    length: Length | int,
    format: Format = "text",
    width: int | None = None,
) -> str:
    """Returns the summary in `format`, ending in a newline; equal inputs give equal bytes.

    Args:
        summary: The summary.
        document: The document that it was made from.
        source: Name of the document for a reader, such as its file name.
        length: The length that was asked for.
        format: "text" is one paragraph, "markdown" a list with provenance, "json" a record.
        width: Columns at which text is wrapped; None leaves it on one line.
    """
    if format == "json":
        record = to_record(summary, document, source=source, length=length)
        return json.dumps(record, ensure_ascii=False, indent=2) + "\n"
    if format == "markdown":
        return _markdown(summary, document, source)
    text = printable(" ".join(map(marked, summary.sentences)))
    if width is not None:
        text = textwrap.fill(text, width, break_long_words=False, break_on_hyphens=False)
    return text + "\n"


def to_record(
    summary: Summary, document: Document, *, source: str, length: Length | int
) -> dict[str, Any]:
    """Returns the summary as JSON-able values.

    `sentence` counts the document's sentences from 0; `start` and `end` are characters of its text;
    `page` counts from 1 and is null where the source has no pages. A written sentence has those of
    the source sentence that is most like it, null where there is none, and `sources` lists all
    behind it; `unsupported` are its numbers and names that the document does not hold.
    """
    return {
        "title": summary.title or document.title,
        "source": source,
        "mode": summary.mode,
        "length": length,
        "n_words": summary.n_words,
        "n_source_words": document.n_words,
        "n_source_pages": document.n_pages,
        "sentences": [
            {
                "text": sentence.text,
                "page": sentence.page,
                "section": sentence.section,
                "sentence": sentence.sentence,
                "start": sentence.start,
                "end": sentence.end,
                "sources": [asdict(source) for source in sentence.sources],
                "unsupported": list(sentence.unsupported),
            }
            for sentence in summary.sentences
        ],
        "notes": list(notes_of(summary, document)),
    }


def provenance(sentence: SummarySentence, separator: str = ", ") -> str:
    """Returns where a sentence comes from, such as "p. 3, Results"; empty if nothing is known.

    Several places have semicolons between them.
    """
    places = (place_of(source, separator) for source in sentence.sources)
    return "; ".join(dict.fromkeys(place for place in places if place))


def place_of(source: SourceSentence, separator: str = ", ") -> str:
    """Returns where a source sentence stands, such as "p. 3, Results"; empty if unknown."""
    parts = []
    if source.page is not None:
        parts.append(f"p. {source.page}")
    if source.section:
        parts.append(printable(source.section))
    return separator.join(parts)


def marked(sentence: SummarySentence) -> str:
    """Returns the text of a sentence, with a mark if the document does not support all of it."""
    mark = mark_of(sentence)
    return f"{sentence.text} {mark}" if mark else sentence.text


def mark_of(sentence: SummarySentence) -> str:
    """Returns a mark that names what the document does not hold; empty if it holds all."""
    if not sentence.unsupported:
        return ""
    return f"[not in the document: {', '.join(sentence.unsupported)}]"


def printable(text: str) -> str:
    """Returns a text without control characters."""
    return _CONTROL.sub("", text)


def notes_of(summary: Summary, document: Document) -> tuple[str, ...]:
    """Returns the remarks on reading and on summarizing, each once."""
    return tuple(dict.fromkeys((*document.notes, *summary.notes)))


def size_of(document: Document) -> str:
    """Returns the size of a document for a reader, such as "12 pages, 6,210 words"."""
    words = f"{document.n_words:,} word{'' if document.n_words == 1 else 's'}"
    if document.n_pages is None:
        return words
    return f"{document.n_pages:,} page{'' if document.n_pages == 1 else 's'}, {words}"


def _markdown(summary: Summary, document: Document, source: str) -> str:
    title = summary.title or document.title or source
    lines = [
        f"# {_escape(title)}",
        "",
        f"Summary of {_escape(source)} ({size_of(document)}) in {summary.n_words:,} words:",
        "",
    ]
    for sentence in summary.sentences:
        where, mark = provenance(sentence), mark_of(sentence)
        line = f"- {_escape(sentence.text)}" + (f" ({_escape(where)})" if where else "")
        lines.append(line + (f" **{_escape(mark)}**" if mark else ""))
    for note in notes_of(summary, document):
        lines += ["", f"> Note: {_escape(note)}"]
    return "\n".join(lines) + "\n"


def _escape(text: str) -> str:
    return _MARKDOWN_ACTIVE.sub(r"\\\g<0>", printable(" ".join(text.split())))
