"""HTML pages: headings, paragraphs and list items; scripts and navigation are left out."""

from __future__ import annotations

from html.parser import HTMLParser

from app.readers.block import Block, BlockKind
from app.readers.prose import is_debris, normalize

_HEADINGS = frozenset(("h1", "h2", "h3", "h4", "h5", "h6"))
_TEXTUAL = frozenset(("p", "li", "blockquote", "ul", "ol", "dl", "dt", "dd", "hr", "title"))
_GROUPING = frozenset(("body", "main", "article", "section", "div"))
_BREAKING = _HEADINGS | _TEXTUAL | _GROUPING
_NOT_SHOWN = frozenset(("script", "style", "noscript", "template", "svg", "math"))
_NAVIGATION = frozenset(("nav", "header", "footer", "aside", "form", "button", "select", "iframe"))
_SKIPPED = _NOT_SHOWN | _NAVIGATION | frozenset(("figure", "table", "pre"))


class _BlockParser(HTMLParser):
    """Collects blocks while a page is fed to it."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.blocks: list[Block] = []
        self.page_title = ""
        self._parts: list[str] = []
        self._heading = ""
        self._in_title = False
        self._skipped: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "br":
            self._parts.append(" ")
        if tag in _SKIPPED:
            self._skipped.append(tag)
        if tag in _BREAKING:
            self.flush()
            self._in_title = tag == "title"
            self._heading = tag if tag in _HEADINGS else ""

    def handle_endtag(self, tag: str) -> None:
        if tag in self._skipped:
            # What was left open inside it ends with it.
            del self._skipped[self._skipped.index(tag) :]
        if tag in _BREAKING:
            self.flush()
            self._heading = ""
            self._in_title = False

    def handle_data(self, data: str) -> None:
        if not self._skipped:
            self._parts.append(data)

    def flush(self) -> None:
        text = normalize("".join(self._parts))
        self._parts.clear()
        if not text:
            return
        if self._in_title:
            self.page_title = text
        elif self._heading:
            self.blocks.append(Block(BlockKind.HEADING, text, (), self._heading))
        elif not is_debris(text):
            self.blocks.append(Block(BlockKind.PROSE, text))


def html_blocks(text: str) -> list[Block]:
    """Returns the blocks of an HTML page; its only h1, else its title element, is the title."""
    parser = _BlockParser()
    parser.feed(text)
    parser.close()
    parser.flush()
    blocks = parser.blocks
    tops = [block for block in blocks if block.style == "h1"]
    title = tops[0].text if len(tops) == 1 else parser.page_title
    kept = [block for block in blocks if not (len(tops) == 1 and block is tops[0])]
    return [Block(BlockKind.TITLE, title), *kept] if title else kept
