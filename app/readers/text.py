"""Plain text and Markdown: headings, and paragraphs from their hard-wrapped lines."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

from app.readers.block import Block, BlockKind
from app.readers.heading import (
    could_be_heading,
    is_capitals,
    is_known,
    is_numbered,
    mend_heading,
)
from app.readers.prose import LineJoiner, is_debris, normalize

_FENCE = re.compile(r"\s*(?:```|~~~)")
_ATX = re.compile(r"\s{0,3}(#{1,6})\s+(.+?)\s*#*\s*$")
_UNDERLINE = re.compile(r"\s{0,3}(=+|-{3,})\s*$")
_TABLE_ROW = re.compile(r"\s*\|.*\||\s*\+[-=+]{3,}|\s*[-| :]{5,}$")
_RULE = re.compile(r"\s*(?:[-*_=]\s*){3,}$")
_LIST_ITEM = re.compile(r"\s*(?:[-*+•]|\(?\d{1,3}[.)]|\([a-z]\))\s+")
_QUOTE = re.compile(r"\s*>+\s?")
_LINE_NUMBER = re.compile(r"\s*(\d{1,4})(?:\s+|$)")
_DEFINITION = re.compile(r"\s*\[[^\]]+\]:\s")
_INLINE = (
    (re.compile(r"<!--.*?-->", re.DOTALL), ""),
    (re.compile(r"!\[[^\]]*\](?:\([^)]*\)|\[[^\]]*\])"), ""),
    (re.compile(r"\[([^\]]+)\]\((?:[^()]|\([^)]*\))*\)"), r"\1"),
    (re.compile(r"\[([^\]]+)\]\[[^\]]*\]"), r"\1"),
    (re.compile(r"\[\^[^\]]+\]:?"), ""),
    (re.compile(r"</?[a-zA-Z][^<>\n]*>"), ""),
    (re.compile(r"(\*\*\*|\*\*|\*)(?=\S)(.+?)(?<=\S)\1"), r"\2"),
    (re.compile(r"(?<!\w)(___|__|_)(?=\S)(.+?)(?<=\S)\1(?!\w)"), r"\2"),
    (re.compile(r"`+([^`]*)`+"), r"\1"),
    (re.compile(r"\\([\\`*_{}\[\]()#+.!-])"), r"\1"),
)
_MIN_NUMBERED_LINES = 8


def text_blocks(text: str, *, is_markdown: bool = False) -> list[Block]:
    """Returns the blocks of a text.

    Args:
        text: The text; paragraphs are separated by blank lines, and may be hard-wrapped.
        is_markdown: Whether to drop Markdown's markup, code, tables and pictures.
    """
    lines = _without_line_numbers(text.expandtabs(4).splitlines())
    joiner = LineJoiner(lines)
    if is_markdown:
        lines = _without_front_matter(lines)
    blocks: list[Block] = []
    paragraph: list[str] = []

    def flush() -> None:
        if paragraph:
            block = joiner.join(
                BlockKind.PROSE, [(_clean(p, is_markdown), None) for p in paragraph]
            )
            if block.text and not (is_debris(block.text) and block.n_words < 30):
                blocks.append(block)
            paragraph.clear()

    def head(line: str, style: str) -> None:
        flush()
        blocks.append(Block(BlockKind.HEADING, mend_heading(_clean(line, is_markdown)), (), style))

    in_fence = False
    for i, line in enumerate(lines):
        if is_markdown and _FENCE.match(line):
            flush()
            in_fence = not in_fence
        if in_fence or (is_markdown and (_FENCE.match(line) or _DEFINITION.match(line))):
            continue
        atx = _ATX.match(line) if is_markdown or line.startswith("#") else None
        underline = _UNDERLINE.match(line)
        if atx is not None:
            head(atx[2], f"h{len(atx[1])}")
        elif underline is not None and len(paragraph) == 1 and _is_underlined(paragraph[0], line):
            title = paragraph.pop()
            head(title, "h1" if underline[1][0] == "=" else "h2")
        elif not line.strip() or _RULE.match(line) or _TABLE_ROW.match(line):
            flush()
        elif _stands_alone(lines, i) and _is_plain_heading(line):
            head(line, "plain")
        else:
            if _LIST_ITEM.match(line):
                flush()
                line = _LIST_ITEM.sub("", line, count=1)
            paragraph.append(_QUOTE.sub("", line) if is_markdown else line)
    flush()
    return _titled(blocks)


def _without_front_matter(lines: Sequence[str]) -> list[str]:
    """Drops the YAML block at the top of a Markdown file."""
    if lines and lines[0].strip() == "---":
        for i, line in enumerate(lines[1:60], start=1):
            if line.strip() in ("---", "..."):
                return list(lines[i + 1 :])
    return list(lines)


def _without_line_numbers(lines: Sequence[str]) -> list[str]:
    """Drops numbers that count the lines, where nearly all lines have one."""
    written = [line for line in lines if line.strip()]
    numbers = [int(match[1]) for line in written if (match := _LINE_NUMBER.match(line))]
    steps = sum(after == before + 1 for before, after in itertools.pairwise(numbers))
    is_numbered_copy = (
        len(numbers) >= _MIN_NUMBERED_LINES
        and len(numbers) > 0.9 * len(written)
        and steps > 0.9 * (len(numbers) - 1)
    )
    return [_LINE_NUMBER.sub("", line, count=1) for line in lines] if is_numbered_copy else [*lines]


def _is_underlined(title: str, underline: str) -> bool:
    return len(underline.strip()) >= 3 and len(title.split()) <= 25 and not title.startswith(" ")


def _stands_alone(lines: Sequence[str], i: int) -> bool:
    before = lines[i - 1] if i else ""
    after = lines[i + 1] if i + 1 < len(lines) else ""
    return not before.strip() and (not after.strip() or is_known(lines[i]))


def _is_plain_heading(line: str) -> bool:
    text = mend_heading(line.strip())
    return could_be_heading(text) and (is_known(text) or is_numbered(text) or is_capitals(text))


def _clean(line: str, is_markdown: bool) -> str:
    if is_markdown:
        for pattern, replacement in _INLINE:
            line = pattern.sub(replacement, line)
    return normalize(line)


def _titled(blocks: list[Block]) -> list[Block]:
    """Marks the title: a first heading of a rank of its own, or a short first line."""
    if len(blocks) < 2:
        return blocks
    first, rest = blocks[0], blocks[1:]
    # Not by a letter: "A study of …" is a title where "A Proofs" is a heading.
    is_numbered_heading = first.style == "plain" and first.text[0].isdigit()
    if is_known(first.text) or (is_numbered_heading and is_numbered(first.text)):
        return blocks
    is_title = (
        all(block.style != first.style for block in rest) or first.style in ("h1", "plain")
        if first.kind is BlockKind.HEADING
        else first.n_words <= 25 and not first.text.endswith((".", "!", ":", ";", ","))
    )
    return [Block(BlockKind.TITLE, first.text), *rest] if is_title else blocks
