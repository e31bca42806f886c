"""From the lines of a PDF to its title, headings, paragraphs, captions and notes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from app.readers.block import Block, BlockKind
from app.readers.heading import is_known, is_numbered, mend_heading
from app.readers.pdf_layout import Line
from app.readers.pdf_line import (
    BodyType,
    LineGroup,
    body_type,
    is_apart,
    line_kind,
    opens_caption,
    wraps_heading,
)
from app.readers.prose import LineJoiner, is_debris

_SENTENCE_END = re.compile(r"[.?!:][\"”’)\]]*(?:\[\d+\])?$")
_LONG_WORD = re.compile(r"[^\W\d_]{4,}")
_ENUMERATOR = re.compile(r"(?:[•◦▪‣·*]\s+|\(?\d{1,2}[.)]\s+(?=[^\W\d_]))")
_LIST_ITEM = re.compile(r"[•◦▪‣–·*]\s|\(?(?:\d{1,2}|[a-z]|[ivx]{1,4})[.)]\s")
_RUN_IN = re.compile(
    r"(?:\d[\d.]*\s+)?[^\W\d_a-z](?:[\w’'\- &,]|\.(?=\w)|\([\w ,\-]+\)){2,70}(?<=[\w)])"
)
_OPENING = re.compile(r" [^\W\d_a-z][\w’'\-]*,? (?=(?:.* )?[a-z])")
_MIN_TITLE_SIZE = 1.12  # of the body's
_MAX_BLOCKS_BETWEEN = 12
_SAME_WIDTH = 0.2  # columns that a paragraph runs on through differ less
_MIN_WORDS = 40  # of prose: with less, a page is taken as it is


def blocks_of(lines: Sequence[Line]) -> list[Block]:
    """Returns the blocks of a document in reading order.

    Paragraphs that captions, notes, formulas, columns or pages cut in two are joined. Formulas,
    rows of tables and stray labels are left out, unless there is hardly anything else.

    Args:
        lines: All lines of all pages, without running headers and line numbers.
    """
    if not lines:
        return []
    body = body_type(lines)
    joiner = LineJoiner(line.text for line in lines)
    title = _title_lines(lines, body)
    blocks = _mended(_grouped(lines, title, body, joiner), joiner)
    if sum(block.n_words for block in blocks if block.kind is BlockKind.PROSE) < _MIN_WORDS:
        title_ids = {id(line) for line in title}
        rest = [(line.text, line.page) for line in lines if id(line) not in title_ids]
        blocks = [b for b in blocks if b.kind is BlockKind.TITLE]
        blocks += [joiner.join(BlockKind.PROSE, [line]) for line in rest]
    return blocks


def _grouped(
    lines: Sequence[Line], title: list[Line], body: BodyType, joiner: LineJoiner
) -> list[Block]:
    groups: list[LineGroup] = [(BlockKind.TITLE, title)] if title else []
    title_ids = {id(line) for line in title}
    previous: Line | None = None
    for line in lines:
        if id(line) in title_ids:
            continue
        kind = line_kind(line, groups[-1] if groups else None, previous, body)
        if kind is None:
            previous = None
            continue
        if groups and _goes_on(groups[-1], kind, line, previous, body):
            groups[-1][1].append(line)
        else:
            groups.append((kind, [_with_stop(line)]))
        previous = groups[-1][1][-1]
    return [
        joiner.join(kind, [(line.text, line.page) for line in group], _style(kind, group))
        for kind, group in groups
        if not _is_table(kind, group)
    ]


def _with_stop(line: Line) -> Line:
    """Returns the first line of a paragraph with a stop behind a heading that runs into it.

    So that the heading is not taken for the first words of the sentence that stands behind it.
    """
    rest = line.text[len(line.lead) :]
    is_run_in = (
        line.text.startswith(line.lead)
        and _RUN_IN.fullmatch(line.lead) is not None
        and _OPENING.match(rest) is not None
    )
    return replace(line, text=f"{line.lead}.{rest}") if is_run_in else line


def _is_table(kind: BlockKind, group: Sequence[Line]) -> bool:
    """Whether lines are a list of names or values: none fills the column, nor ends a sentence."""
    return (
        kind in (BlockKind.PROSE, BlockKind.NOTE)
        and len(group) > 1
        and not any(line.is_full for line in group)
        and _SENTENCE_END.search(group[-1].text) is None
    )


def _title_lines(lines: Sequence[Line], body: BodyType) -> list[Line]:
    """Returns the lines in the largest type of the first page's upper part."""
    first_page = [line for line in lines if line.page == lines[0].page]
    lowest, highest = min(line.y for line in first_page), max(line.y for line in first_page)
    upper = [
        line
        for line in first_page
        if line.y > (lowest + highest) / 2 and not is_debris(line.text) and len(line.text) > 5
    ]
    if not upper:
        return []
    size = max(line.size for line in upper)
    if size < _MIN_TITLE_SIZE * body.size:
        return []
    largest = (i for i, line in enumerate(first_page) if line.size == size)
    start = next((i for i in largest if not is_known(mend_heading(first_page[i].text))), None)
    if start is None:
        return []
    title: list[Line] = []
    for line in first_page[start:]:
        if line.size < 0.95 * size or (title and line.gap > 2.2 * size):
            break
        title.append(line)
    return title


def _goes_on(
    group: LineGroup,
    kind: BlockKind,
    line: Line,
    previous: Line | None,
    body: BodyType,
) -> bool:
    """Whether a line continues the block before it."""
    last = group[1][-1]
    if kind is not group[0] or previous is not last or kind is BlockKind.TITLE:
        return False
    if kind is BlockKind.HEADING:
        return wraps_heading(line, last, group, body) and not is_numbered(line.text)
    if kind is BlockKind.CAPTION:
        return not opens_caption(line) or not is_apart(line, last, body)
    if abs(line.size - last.size) > 0.08 * body.size or _LIST_ITEM.match(line.text):
        return False
    if line.gap == float("inf") or line.gap < 0 or line.page != last.page:
        are_alike = abs(line.width - last.width) < _SAME_WIDTH * max(line.width, last.width)
        return are_alike and last.is_full and line.is_full and not line.is_indented
    if line.gap > 1.45 * body.spacing:
        return False
    ends = _SENTENCE_END.search(last.text) is not None
    if line.is_indented and not last.is_indented:
        return not ends and line.text[0].islower()
    return last.is_full or not ends


def _style(kind: BlockKind, group: Sequence[Line]) -> str:
    if kind is not BlockKind.HEADING:
        return ""
    emphasis = " bold" if group[0].bold > 0.9 else " italic" if group[0].italic > 0.9 else ""
    return f"{round(2 * group[0].size) / 2:.1f}{emphasis}"


def _mended(blocks: Sequence[Block], joiner: LineJoiner) -> list[Block]:
    """Joins the parts of paragraphs over what stands between them, and drops stray labels."""
    mended: list[Block] = []
    for block in blocks:
        if block.kind is BlockKind.HEADING:
            text = mend_heading(block.text)
            mended.append(Block(block.kind, text, block.page_starts, block.style))
            continue
        enumerator = _ENUMERATOR.match(block.text)
        if enumerator is not None:
            block = block.without_start(enumerator.end())
        is_label = block.kind is not BlockKind.TITLE and _is_label(block)
        unfinished = None if is_label and block.n_words < 4 else _unfinished(mended, block)
        if unfinished is not None:
            mended[unfinished] = joiner.join_blocks(mended[unfinished], block)
        elif not is_label:
            mended.append(block)
    return mended


def _unfinished(blocks: Sequence[Block], block: Block) -> int | None:
    """Returns the index of the paragraph that `block` goes on with, if there is one."""
    if block.text[:1].islower() or block.text[:1] in ("(", "["):
        for i in range(len(blocks) - 1, max(-1, len(blocks) - _MAX_BLOCKS_BETWEEN), -1):
            if blocks[i].kind is BlockKind.HEADING:
                return None
            is_open = _SENTENCE_END.search(blocks[i].text.rstrip(":")) is None
            if blocks[i].kind is block.kind and is_open and block.kind is not BlockKind.CAPTION:
                return i
    return None


def _is_label(block: Block) -> bool:
    """Whether it is a stray piece of a figure, a formula or a table."""
    if _SENTENCE_END.search(block.text):
        return block.n_words < 3
    if len(_LONG_WORD.findall(block.text)) < 3:
        return True
    return block.n_words < (12 if block.kind is BlockKind.NOTE else 5)
