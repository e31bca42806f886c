"""A summary as text, Markdown or JSON, each sentence with the page and section it comes from."""

from __future__ import annotations

import json
import re
import textwrap
from typing import Any, Literal

from terraformer.document import Document
from terraformer.summary import Length, Summary, SummarySentence

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
    text = _CONTROL.sub("", summary.text)
    if width is not None:
        text = textwrap.fill(text, width, break_long_words=False, break_on_hyphens=False)
    return text + "\n"


def to_record(
    summary: Summary, document: Document, *, source: str, length: Length | int
) -> dict[str, Any]:
    """Returns the summary as JSON-able values.

    `sentence` counts the document's sentences from 0; `start` and `end` are characters of its text;
    `page` counts from 1 and is null where the source has no pages.
    """
    return {
        "title": summary.title or document.title,
        "source": source,
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
            }
            for sentence in summary.sentences
        ],
        "notes": list(notes_of(summary, document)),
    }


def provenance(sentence: SummarySentence, separator: str = ", ") -> str:
    """Returns where a sentence stands, such as "p. 3, Results"; empty if nothing is known."""
    parts = []
    if sentence.page is not None:
        parts.append(f"p. {sentence.page}")
    if sentence.section:
        parts.append(_CONTROL.sub("", sentence.section))
    return separator.join(parts)


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
        where = provenance(sentence)
        lines.append(f"- {_escape(sentence.text)}" + (f" ({_escape(where)})" if where else ""))
    for note in notes_of(summary, document):
        lines += ["", f"> Note: {_escape(note)}"]
    return "\n".join(lines) + "\n"


def _escape(text: str) -> str:
    return _MARKDOWN_ACTIVE.sub(r"\\\g<0>", _CONTROL.sub("", " ".join(text.split())))
