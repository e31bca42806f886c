"""From blocks to a document: title, abstract, sections; front matter and references go."""

from __future__ import annotations

import re
from collections.abc import Sequence

from app.readers.block import Block, BlockKind
from app.readers.heading import (
    abstract_start,
    is_abstract,
    is_abstract_part,
    is_back_matter,
    is_contents,
    is_introduction,
    is_references,
    mend_heading,
)
from terraformer.document import Document, Paragraph
from terraformer.errors import DocumentError

_KEYWORDS = re.compile(
    r"(?:key ?-?words?(?: and phrases)?|index terms|ccs concepts|jel|msc|categories and subject|"
    r"general terms|pacs)\b",
    re.IGNORECASE,
)
# Addresses and imprints: some are told by how they begin, some by what stands in them.
_IMPRINT = re.compile(
    r"(?:\W|\d{1,2}\s)*(?:copyright|c \d{4}|\(c\) \d{4}|appearing in|in proceedings|proceedings of|"
    r"to appear in|published (?:in|as|by)|preprint|(?:work )?under review|correspond(?:ing author|"
    r"ence (?:to|should))|(?:these authors )?equal(?:ly)? contribut|permission to make|"
    r"licen[sc]ed under|received:? |accepted:? |arxiv:\d|(?:https?://)?(?:dx\.)?doi|issn\b|"
    r"e-?mail|editors?:|authors?:|"
    r"(?:department|school|faculty|institute|university|college|laboratory|cent(?:re|er)) "
    r"(?:of|for))|"
    r".*(?:©|all rights reserved|appearing in proceedings|copyright (?:\(c\) |held )?(?:by|\d{4})|"
    r"[\w.{},-]+ ?@ ?[\w-]+\.\w)",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"[.?!][\"”’)\]]*$")
_PAGE_END = re.compile(r"\s\d{1,4}$")
_MIN_PROSE_WORDS = 9
_MIN_ABSTRACT_WORDS = 40
_MAX_ABSTRACT_WORDS = 700
_MAX_FRONT_BLOCKS = 60


def assemble(
    blocks: Sequence[Block],
    *,
    name: str,
    fallback_title: str = "",
    keep_abstract: bool = False,
    n_pages: int | None = None,
    notes: Sequence[str] = (),
) -> Document:
    """Builds the document.

    Args:
        blocks: In reading order.
        name: What messages call the source.
        fallback_title: The title if the blocks show none.
        keep_abstract: Makes the abstract the first section instead of `Document.abstract`.
        n_pages: Pages of the source.
        notes: Remarks for the user.
    Raises:
        DocumentError: if no prose is left.
    """
    blocks = _without_contents(blocks)
    title = next((b.text for b in blocks if b.kind is BlockKind.TITLE), fallback_title)
    body = _without_references([b for b in blocks if b.kind is not BlockKind.TITLE])
    abstract, body = _split_front(body)
    sections: list[tuple[str, list[Paragraph]]] = []
    if keep_abstract and abstract:
        sections.append(("Abstract", [block.as_paragraph() for block in abstract]))
    for block in body:
        if block.kind is BlockKind.HEADING:
            sections.append((block.text, []))
            continue
        if not sections:
            sections.append(("", []))
        sections[-1][1].append(block.as_paragraph())
    if not any(paragraphs for _, paragraphs in sections):
        if abstract and not keep_abstract:
            raise DocumentError(
                f"{name} holds only an abstract: keep it in the text (--keep-abstract)"
            )
        raise DocumentError(f"{name} holds no text to summarize: check that it is not empty")
    return Document.build(
        sections,
        title=mend_heading(title),
        abstract=" ".join(b.text for b in abstract) if abstract and not keep_abstract else None,
        n_pages=n_pages,
        notes=notes,
    )


def _without_contents(blocks: Sequence[Block]) -> list[Block]:
    """Drops a table of contents: from its heading while blocks end in page numbers."""
    kept: list[Block] = []
    is_listing = False
    for block in blocks:
        is_heading = block.kind in (BlockKind.HEADING, BlockKind.TITLE)
        if is_heading and is_contents(block.text):
            is_listing = True
        elif not (is_listing and _PAGE_END.search(block.text)):
            is_listing = False
            kept.append(block)
    return kept


def _without_references(blocks: Sequence[Block]) -> list[Block]:
    """Drops reference lists: from their heading to an appendix or a heading of the same rank."""
    kept: list[Block] = []
    listing: Block | None = None
    for block in blocks:
        if block.kind is BlockKind.HEADING:
            if is_references(block.text):
                listing = block
            elif listing is not None and (
                is_back_matter(block.text) or block.style == listing.style
            ):
                listing = None
        if listing is None:
            kept.append(block)
    return kept


def _split_front(blocks: Sequence[Block]) -> tuple[list[Block], list[Block]]:
    """Returns the abstract's blocks and the body, without what stands before and between them."""
    start = next((i for i, b in enumerate(blocks[:_MAX_FRONT_BLOCKS]) if _opens_abstract(b)), None)
    introduction = next(
        (
            i
            for i, b in enumerate(blocks[:_MAX_FRONT_BLOCKS])
            if b.kind is BlockKind.HEADING and is_introduction(b.text)
        ),
        None,
    )
    if start is None:
        if introduction is None:
            return [], _without_imprint(blocks)
        front = [b for b in blocks[:introduction] if _is_abstract_prose(b)]
        n_words = sum(b.n_words for b in front)
        is_abstract_like = _MIN_ABSTRACT_WORDS <= n_words <= _MAX_ABSTRACT_WORDS
        if not is_abstract_like and n_words:
            return [], _without_imprint(blocks)
        return front, _without_imprint(blocks[introduction:])
    abstract: list[Block] = []
    opening = blocks[start]
    if opening.kind is not BlockKind.HEADING:
        abstract.append(opening.without_start(abstract_start(opening.text)))
    end = start + 1
    while end < len(blocks):
        block = blocks[end]
        is_part = introduction is not None and end < introduction and is_abstract_part(block.text)
        if block.kind is BlockKind.HEADING and not is_part:
            break
        has_enough = sum(b.n_words for b in abstract) >= _MIN_ABSTRACT_WORDS
        if introduction is None and has_enough and end - start > 1:
            break
        # Under a heading of its own even one line is the abstract, elsewhere it may be an address.
        min_words = 1 if opening.kind is BlockKind.HEADING else _MIN_PROSE_WORDS
        if _is_abstract_prose(block, min_words):
            abstract.append(block)
        end += 1
    return abstract, _without_imprint(blocks[end:])


def _opens_abstract(block: Block) -> bool:
    if block.kind is BlockKind.HEADING:
        return is_abstract(block.text)
    return abstract_start(block.text) > 0 and block.n_words > 20


def _is_abstract_prose(block: Block, min_words: int = _MIN_PROSE_WORDS) -> bool:
    return (
        block.kind is not BlockKind.HEADING
        and block.kind is not BlockKind.CAPTION
        and _KEYWORDS.match(block.text) is None
        and _IMPRINT.match(block.text) is None
        and block.n_words >= min_words
        and _SENTENCE_END.search(block.text) is not None
    )


def _without_imprint(blocks: Sequence[Block]) -> list[Block]:
    """Drops addresses, copyright lines and key words that stand beside the text's beginning."""
    return [
        block
        for i, block in enumerate(blocks)
        if not (i < _MAX_FRONT_BLOCKS and _is_imprint(block))
    ]


def _is_imprint(block: Block) -> bool:
    is_in_front = not block.page_starts or block.page_starts[0][1] == 1
    is_short = block.n_words < _MIN_ABSTRACT_WORDS
    if block.kind is BlockKind.HEADING or not is_in_front or not is_short:
        return False
    return _KEYWORDS.match(block.text) is not None or _IMPRINT.match(block.text) is not None
