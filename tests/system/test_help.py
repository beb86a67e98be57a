"""``--help`` and ``--version``: quick and in a useful order; misspelt options."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import import_module

import pytest

from latentfm_core.cli.train import main
from tests.helpers.processes import environment

HEAVY = ("torch", "numpy", "scipy", "skimage", "PIL", "tifffile", "napari")
COMMANDS = ("train", "predict", "evaluate", "calibrate", "export")

pytestmark = pytest.mark.process


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("option", ["--help", "--version"])
def test_heavy_libraries_are_not_imported(command: str, option: str) -> None:
    code = (
        "import sys\n"
        f"from latentfm_core.cli.{command} import main\n"
        f"assert main([{option!r}]) == 0\n"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment(), check=True
    )
    assert f"latentfm-{command}" in run.stdout
    assert run.stdout.rstrip().endswith("[]")


@pytest.mark.parametrize(
    ("command", "first"),
    [
        ("train", ["--images", "--masks", "--data", "--out", "--minutes"]),
        ("predict", ["--model", "--out"]),
        ("evaluate", ["--images", "--masks", "--data", "--model"]),
        ("calibrate", ["--images", "--masks", "--data", "--model"]),
        ("export", ["--format", "--model", "--out"]),
    ],
)
def test_the_important_options_come_first(command: str, first: list[str]) -> None:
    build = import_module(f"latentfm_core.cli.{command}").build_parser
    options = build().format_help().partition("\noptions:\n")[2]
    listed = re.findall(r"^  (--[a-z-]+)", options, re.MULTILINE)
    assert listed[: len(first)] == first


def test_a_misspelt_option_gets_the_nearest_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--imges", "images", "--msks=b", "--out", "c"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "usage: latentfm-train [options]; see --help"
    assert "Did you mean --images, --masks?" in said[1]
    assert len(said) == 2
