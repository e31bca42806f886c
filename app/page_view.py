"""The result on the web page: a summary as HTML, each sentence with where it stands."""

from __future__ import annotations

import base64
from html import escape
from pathlib import PurePath

from app.render import SUFFIXES, Format, mark_of, notes_of, place_of, render, size_of
from terraformer.document import Document
from terraformer.summary import Length, SourceSentence, Summary, SummarySentence

N_NEIGHBOURS = 2  # sentences shown on each side of a summary sentence in its place
_MIME_TYPES: dict[Format, str] = {
    "text": "text/plain",
    "markdown": "text/markdown",
    "json": "application/json",
}

# Runs once, when the page loads; `element` is the part of the page that shows the result.
COPY_SCRIPT = """
element.addEventListener('click', async (event) => {
  const button = event.target.closest('[data-copy]');
  if (!button) return;
  const label = button.textContent;
  try {
    await navigator.clipboard.writeText(button.dataset.copy);
    button.textContent = 'Copied';
  } catch {
    const area = document.createElement('textarea');
    area.value = button.dataset.copy;
    document.body.append(area);
    area.select();
    button.textContent = document.execCommand('copy') ? 'Copied' : 'Copying is not allowed here';
    area.remove();
  }
  setTimeout(() => { button.textContent = label; }, 1500);
});
"""

EMPTY_VIEW = """
<div class="tf-empty">
  <p>The summary appears here, each sentence with the page and section
  that it comes from.</p>
</div>
"""


def view_summary(summary: Summary, document: Document, *, source: str, length: Length | int) -> str:
    """Returns the result as HTML that runs no script and asks for nothing from elsewhere.

    Args:
        summary: The summary.
        document: The document that it was made from.
        source: Name of the document for a reader, such as its file name.
        length: The length that was asked for.
    """
    title = summary.title or document.title
    meta = [source] if title else []
    meta += [size_of(document), f"summary of {summary.n_words:,} words"]
    items = "\n".join(_view_sentence(sentence, document) for sentence in summary.sentences)
    notes = "".join(f"<li>{escape(note)}</li>" for note in notes_of(summary, document))
    return f"""
<article class="tf-result" aria-label="Summary">
  <header>
    <h2>{escape(title or source)}</h2>
    <p class="tf-meta">{escape(" · ".join(meta))}</p>
    <div class="tf-actions">
      <button type="button" data-copy="{escape(summary.text)}">Copy text</button>
      {_download("Download Markdown", "markdown", summary, document, source, length)}
      {_download("Download JSON", "json", summary, document, source, length)}
    </div>
  </header>
  <ol class="tf-sentences">
{items}
  </ol>
  {f'<ul class="tf-notes" aria-label="Remarks">{notes}</ul>' if notes else ""}
</article>"""


def view_draft(text: str, source: str) -> str:
    """Returns a summary that is still being written, as HTML.

    Args:
        text: What is written of it.
        source: Name of the document for a reader.
    """
    return f"""
<article class="tf-result" aria-label="Summary" aria-busy="true">
  <header><p class="tf-meta">{escape(source)} · being written</p></header>
  <p class="tf-draft">{escape(text)}</p>
</article>"""


def _view_sentence(sentence: SummarySentence, document: Document) -> str:
    places = "".join(_view_source(source, document) for source in sentence.sources)
    mark = mark_of(sentence)
    shown = f' <span class="tf-mark">{escape(mark)}</span>' if mark else ""
    return f"""    <li>
      <span>{escape(sentence.text)}</span>{shown}
      {places or '<p class="tf-meta">no sentence of the document is like it</p>'}
    </li>"""


def _view_source(source: SourceSentence, document: Document) -> str:
    where = place_of(source, " · ") or f"sentence {source.sentence + 1:,}"
    own = document.sentences[source.sentence].section
    first = max(0, source.sentence - N_NEIGHBOURS)
    around = " ".join(
        f"<mark>{escape(neighbour.text)}</mark>"
        if index == source.sentence
        else escape(neighbour.text)
        for index, neighbour in enumerate(
            document.sentences[first : source.sentence + N_NEIGHBOURS + 1], start=first
        )
        if neighbour.section == own
    )
    return f"""<details>
        <summary title="Show the sentences around it">{escape(where)}</summary>
        <blockquote>{around}</blockquote>
      </details>"""


def _download(
    label: str,
    format: Format,
    summary: Summary,
    document: Document,
    source: str,
    length: Length | int,
) -> str:
    text = render(summary, document, source=source, length=length, format=format)
    content = base64.b64encode(text.encode("utf-8", errors="replace")).decode("ascii")
    name = f"{PurePath(source).stem}.summary{SUFFIXES[format]}"
    return (
        f'<a role="button" download="{escape(name)}" '
        f'href="data:{_MIME_TYPES[format]};charset=utf-8;base64,{content}">{label}</a>'
    )
