"""Files that appear whole or not at all, so that an interrupted run leaves no half summary."""

from __future__ import annotations

import os
from pathlib import Path

from terraformer.errors import TerraformerError


def write_whole(path: Path, text: str) -> None:
    """Writes a file in UTF-8, creating its folders.

    Raises:
        TerraformerError: if the system refuses.
    """
    try:
        if path.exists() and not path.is_file():  # a device or a pipe must not be replaced
            path.write_text(text, encoding="utf-8", errors="replace", newline="\n")
            return
        target = path.resolve()
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".{target.name}.{os.getpid()}.part")
        try:
            part.write_text(text, encoding="utf-8", errors="replace", newline="\n")
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise TerraformerError(f"cannot write {path}: {error.strerror or error}") from error
