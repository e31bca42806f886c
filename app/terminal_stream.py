"""A summary on a terminal while it is written, wrapped as it will stand in the end."""

from __future__ import annotations

import re
from typing import TextIO

from app.render import mark_of, printable
from terraformer.summary import SummarySentence


class TerminalStream:
    """Prints words as they come; see `terraformer.summary.Written`.

    What has been printed when it is closed is what `app.render.render` makes of the summary.

    Args:
        stream: The terminal.
        width: Columns at which lines are broken.
    """

    def __init__(self, stream: TextIO, width: int) -> None:
        self._stream = stream
        self._width = width
        self._column = 0
        self._space = False  # whether there is one before the next word

    def __call__(self, text: str, sentence: SummarySentence | None) -> None:
        self._print(text)
        if sentence is not None and sentence.unsupported:
            self._print(f" {mark_of(sentence)}")
        self._stream.flush()

    def close(self) -> None:
        """Ends the last line."""
        self._stream.write("\n")
        self._stream.flush()

    def _print(self, text: str) -> None:
        for part in re.findall(r"\s+|\S+", printable(text)):
            if part.isspace():
                self._space = self._column > 0
                continue
            if self._space:
                breaks = self._column + 1 + len(part) > self._width
                self._stream.write("\n" if breaks else " ")
                self._column = 0 if breaks else self._column + 1
                self._space = False
            self._stream.write(part)
            self._column += len(part)
