"""``--help`` and ``--version`` work without importing the numerical libraries."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.helpers.processes import environment

COMMANDS = ("train", "predict", "evaluate", "calibrate", "export")

pytestmark = pytest.mark.process


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("option", ["--help", "--version"])
def test_heavy_libraries_are_not_imported(command: str, option: str) -> None:
    code = (
        "import sys\n"
        f"from latentfm_core.cli.{command} import main\n"
        f"assert main([{option!r}]) == 0\n"
        "print([name for name in ('torch', 'scipy', 'skimage', 'napari') if name in sys.modules])"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment(), check=True
    )
    assert f"latentfm-{command}" in run.stdout
    assert run.stdout.rstrip().endswith("[]")
