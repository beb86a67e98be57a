"""The Python code and the commands in the documentation work."""

from __future__ import annotations

import re
import runpy
import shlex
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from skimage.io import imsave

from napari_latentfm.sample_data import dermoscopy_demo

ROOT = Path(__file__).resolve().parents[2]
# Built from the settings, as the documentation does.
runpy.run_path(str(ROOT / "docs" / "settings_page.py"))["write_page"](ROOT / "docs" / "settings.md")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def fenced(language: str) -> Iterator[Any]:
    """Yield each block of a language with the name of its page."""
    for page in PAGES:
        found = re.findall(
            rf"^```{language}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE
        )
        for number, block in enumerate(found):
            yield pytest.param(block, id=f"{page.stem}-{number}")


@pytest.mark.parametrize("block", list(fenced("python")))
def test_python_in_the_documentation_runs(
    block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = dermoscopy_demo()[0][0]
    monkeypatch.chdir(tmp_path)
    imsave("lesion.jpg", pixels, check_contrast=False)
    scan = pixels[None, ::4, ::4, 0].repeat(4, 0)
    tifffile.imwrite("scan.tif", scan, photometric="minisblack", metadata={"axes": "ZYX"})
    small = pixels[::2, ::2]
    exec(  # the documentation is ours
        compile(block, "<documentation>", "exec"),
        {"level0": small, "level1": small[::2, ::2], "np": np},
    )


def commands() -> set[tuple[str, str]]:
    """Return every command of this project on the pages, with each of its options."""
    found = set()
    for page in PAGES:
        for block in re.findall(r"^```sh\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE):
            for line in block.replace("\\\n", " ").splitlines():
                words = shlex.split(line, comments=True)
                for place, word in enumerate(words):
                    name = word.removeprefix("latentfm_core.cli.")
                    if name != word:
                        name = f"latentfm-{name}"
                    if re.fullmatch(r"latentfm-[a-z]+", name):
                        options = {w.partition("=")[0] for w in words[place + 1 :] if w[:2] == "--"}
                        found |= {(name, option) for option in options}
    return found


def test_commands_in_the_documentation_use_existing_options(
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked = commands()
    assert len({name for name, _ in asked}) >= 4
    for name in {name for name, _ in asked}:
        (script,) = entry_points(group="console_scripts", name=name)
        module, _, function = script.value.partition(":")
        assert getattr(import_module(module), function)(["--help"]) == 0
        helps = capsys.readouterr().out
        unknown = [o for n, o in asked if n == name and not re.search(rf"{o}(?![a-z-])", helps)]
        assert not unknown, f"{name} has no {unknown}"


def test_links_between_pages_are_valid() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text()):
            if not target.startswith(("http", "mailto")):
                assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.parametrize("block", list(fenced("diff")))
def test_worked_examples_change_existing_lines(block: str) -> None:
    before, after, *lines = block.splitlines()
    path = ROOT / before.removeprefix("--- a/")
    assert after == f"+++ b/{path.relative_to(ROOT)}"
    there = path.read_text().splitlines()
    wanted = [line[1:] for line in lines if line[0] in " -"]
    assert wanted
    missing = [line for line in wanted if line not in there]
    assert not missing, f"{path} no longer has {missing}"


def test_pages_contain_no_names_of_python_objects() -> None:
    for page in [*PAGES, *sorted((ROOT / "docs" / "models").glob("*.md"))]:
        found = re.findall(r"<[^>\n]* at 0x[0-9a-f]+>", page.read_text())
        assert not found, f"{page.name}: {found}"
