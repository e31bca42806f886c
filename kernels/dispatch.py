"""The table of backends: which ones an operation has, and which one runs."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch

_log = logging.getLogger(__name__)

PREFERENCE = ("triton", "cpp", "cpu", "reference")
"""Backends from the one that the automatic choice likes best to the one that always runs."""

ENVIRONMENT_VARIABLE = "TERRAFORMER_BACKEND"


@dataclass(frozen=True)
class _Backend:
    function: Callable[..., Any]
    available: Callable[[torch.device], str | None]
    home: str | None


_table: dict[str, dict[str, _Backend]] = {}
_told: set[tuple[str, str, str]] = set()
_forced: ContextVar[str | None] = ContextVar("forced_backend", default=None)


def register(
    op: str,
    backend: str,
    function: Callable[..., Any],
    available: Callable[[torch.device], str | None] = lambda device: None,
    home: str | None = None,
) -> None:
    """Enters a backend of an operation into the table.

    Args:
        op: Name of the operation.
        backend: One of `PREFERENCE`.
        function: Computes the operation; all backends of one take the same arguments.
        available: Returns None where the backend runs on a device, else the reason why not.
        home: Type of the devices that it is written for; on others the automatic choice passes it
            over without a word. None: written for all.
    Raises:
        ValueError: if the backend has no place in `PREFERENCE` or is registered twice.
    """
    if backend not in PREFERENCE:
        raise ValueError(f"backend ({backend}) must be one of {', '.join(PREFERENCE)}")
    backends = _table.setdefault(op, {})
    if backend in backends:
        raise ValueError(f"op {op} has a backend {backend} already")
    backends[backend] = _Backend(function, available, home)


def backends(op: str, device: torch.device | None = None) -> list[str]:
    """Returns the registered backends of an operation, the preferred one first.

    Args:
        op: Name of the operation.
        device: If given, only the backends that run on it are returned.
    Raises:
        ValueError: if the operation is unknown.
    """
    if op not in _table:
        raise ValueError(f"unknown op {op}; known: {', '.join(sorted(_table))}")
    known = [name for name in PREFERENCE if name in _table[op]]
    if device is None:
        return known
    return [name for name in known if _table[op][name].available(device) is None]


def resolve(op: str, device: torch.device, backend: str | None = None) -> Callable[..., Any]:
    """Returns the function that computes an operation on a device.

    A backend is forced by the argument, else by `forced_backend`, else by the environment variable
    TERRAFORMER_BACKEND. Where none is forced, the first of `PREFERENCE` that runs is taken, and
    each one of that device type that is passed over is logged once.

    Raises:
        ValueError: if the operation or the forced backend is unknown.
        RuntimeError: if the forced backend cannot run, with the reason.
    """
    known = backends(op)
    forced = backend or _forced.get() or os.environ.get(ENVIRONMENT_VARIABLE)
    if forced:
        if forced not in known:
            raise ValueError(f"op {op} has no backend {forced}; it has: {', '.join(known)}")
        reason = _table[op][forced].available(device)
        if reason is not None:
            raise RuntimeError(f"backend {forced} of op {op} cannot run: {reason}")
        return _table[op][forced].function
    reasons = []
    for name in known:
        reason = _table[op][name].available(device)
        if reason is None:
            return _table[op][name].function
        reasons.append(f"{name}: {reason}")
        is_at_home = _table[op][name].home in (None, device.type)
        if is_at_home and (op, name, reason) not in _told:
            _told.add((op, name, reason))
            _log.warning("op %s falls back from backend %s: %s", op, name, reason)
    raise RuntimeError(f"no backend of op {op} can run ({'; '.join(reasons)})")


@contextlib.contextmanager
def forced_backend(backend: str) -> Iterator[None]:
    """Forces one backend for every operation called inside the `with`."""
    token = _forced.set(backend)
    try:
        yield
    finally:
        _forced.reset(token)


def needs_cpu(device: torch.device) -> str | None:
    """The `available` of backends that are written for tensors in main memory."""
    return None if device.type == "cpu" else f"it computes on cpu, the tensors are on {device.type}"
