"""How the commands of training and evaluation end when something goes wrong."""

from __future__ import annotations

import sys
from collections.abc import Callable

from terraformer.errors import TerraformerError


def exit_status(name: str, action: Callable[[], object]) -> int:
    """Runs `action`; what a user can mend becomes one line on stderr.

    Returns:
        0, or 1 after an error.
    """
    try:
        action()
    except TerraformerError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{name}: {error.strerror or error}: {error.filename}", file=sys.stderr)
        return 1
    return 0
