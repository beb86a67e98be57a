"""Entry points of the commands. Ctrl+C ends a command without a traceback while it is imported."""

from __future__ import annotations

import contextlib
import sys
from importlib import import_module

_INTERRUPTED = 130
"""`cli.common.EXIT_INTERRUPTED`; that module is part of what is imported."""


def train() -> int:
    """Run ``latentfm-train`` and return its exit code."""
    return _run("train")


def predict() -> int:
    """Run ``latentfm-predict`` and return its exit code."""
    return _run("predict")


def calibrate() -> int:
    """Run ``latentfm-calibrate`` and return its exit code."""
    return _run("calibrate")


def evaluate() -> int:
    """Run ``latentfm-evaluate`` and return its exit code."""
    return _run("evaluate")


def export() -> int:
    """Run ``latentfm-export`` and return its exit code."""
    return _run("export")


def _run(name: str) -> int:
    try:
        code: int = import_module(f"latentfm_core.cli.{name}").main()
    except KeyboardInterrupt:
        with contextlib.suppress(OSError, ValueError, AttributeError):  # closed standard error
            sys.stderr.write("interrupted\n")
        return _INTERRUPTED
    return code
