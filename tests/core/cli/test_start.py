"""Ctrl+C while a command is imported."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

import pytest

from tests.helpers.processes import environment

pytestmark = pytest.mark.process

SCRIPTS = sorted(
    (each.name, each.value)
    for each in distribution("napari-latentfm").entry_points
    if each.group == "console_scripts"
)


@pytest.mark.parametrize(("name", "value"), SCRIPTS)
def test_an_interrupt_while_a_command_is_imported_leaves_no_traceback(
    tmp_path: Path, name: str, value: str
) -> None:
    # Found instead of the library that every command imports.
    # A shell that starts the tests in the background makes them ignore the signal.
    obeys = "signal.signal(signal.SIGINT, signal.default_int_handler)"
    interrupts = (
        f"import signal, time\n{obeys}\nsignal.raise_signal(signal.SIGINT)\ntime.sleep(9)\n"
    )
    (tmp_path / "pydantic.py").write_text(interrupts, "utf-8")
    module, _, function = value.partition(":")
    start = f"sys.path.insert(0, {str(tmp_path)!r}); sys.argv[0] = {name!r}"
    code = f"import sys; {start}; from {module} import {function}; sys.exit({function}())"
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=environment(),
        check=False,
    )
    assert (run.returncode, run.stderr, run.stdout) == (130, "interrupted\n", "")
