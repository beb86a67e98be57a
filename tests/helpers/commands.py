"""Run commands within the test process and capture their output."""

from __future__ import annotations

from collections.abc import Callable

import pytest

Printed = Callable[..., str]
"""Call a function that runs a command with arguments; return the command's error stream."""


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> Printed:
    """Run a command that succeeds."""
    return lambda run, *arguments: _run(capsys, 0, run, *arguments)


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Printed:
    """Run a command that fails with a user error; return its message."""
    return lambda run, *arguments: _run(capsys, 2, run, *arguments)


def _run(
    capsys: pytest.CaptureFixture[str], code: int, run: Callable[..., int], *arguments: object
) -> str:
    capsys.readouterr()
    assert run(*arguments) == code
    printed = capsys.readouterr()
    errors = [x for x in printed.err.splitlines() if x.startswith(("error:", "unexpected"))]
    assert len(errors) <= (code == 2), errors
    assert not any(x.startswith("unexpected") for x in errors)
    assert "Traceback" not in printed.err
    return printed.err
