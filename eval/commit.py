"""The commit of the code that measured something."""

from __future__ import annotations

import subprocess
from pathlib import Path


def commit_of_code() -> str | None:
    """Returns the commit this file was checked out from, "-dirty" if changed; None if not known."""
    folder = Path(__file__).parent

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, text=True, check=True, timeout=30
        )
        return done.stdout.strip()

    try:
        commit = git("rev-parse", "--verify", "HEAD")
        return commit + ("-dirty" if git("status", "--porcelain") else "")
    except (OSError, subprocess.SubprocessError):
        return None
