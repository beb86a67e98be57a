"""Entry points of the commands. Ctrl+C ends a command without a traceback while it is imported."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from importlib import import_module

_INTERRUPTED = 130
"""`cli.common.EXIT_INTERRUPTED`; that module is part of what is imported."""


def train(argv: Sequence[str] | None = None) -> int:
    """Run ``latentfm-train`` and return its exit code."""
    return _run("train", argv)


def predict(argv: Sequence[str] | None = None) -> int:
    """Run ``latentfm-predict`` and return its exit code."""
    return _run("predict", argv)


def calibrate(argv: Sequence[str] | None = None) -> int:
    """Run ``latentfm-calibrate`` and return its exit code."""
    return _run("calibrate", argv)


def evaluate(argv: Sequence[str] | None = None) -> int:
    """Run ``latentfm-evaluate`` and return its exit code."""
    return _run("evaluate", argv)


def export(argv: Sequence[str] | None = None) -> int:
    """Run ``latentfm-export`` and return its exit code."""
    return _run("export", argv)


def _run(name: str, argv: Sequence[str] | None) -> int:
    try:
        code: int = import_module(f"latentfm_core.cli.{name}").main(argv)
    except KeyboardInterrupt:
        with contextlib.suppress(OSError, ValueError, AttributeError):  # closed standard error
            sys.stderr.write("interrupted\n")
        return _INTERRUPTED
    return code
