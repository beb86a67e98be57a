"""A short run of the fuzzing harness, and known defects that it must find.

``python -m robustness.fuzz --cases 100000`` is the long run; docs/reliability.md holds its figures.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from robustness.fuzz import seeds
from robustness.fuzz.targets import TARGETS

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs limits for processes")


def fuzz(*arguments: object, report: Path) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "robustness.fuzz", *map(str, arguments), "--report", str(report)]
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    return subprocess.run(
        words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300
    )


def test_damaged_files_are_handled_safely(tmp_path: Path) -> None:
    result = fuzz("--cases", 500, "--seed", 7, report=tmp_path / "report.json")
    assert result.returncode == 0, result.stdout + result.stderr
    counts = json.loads((tmp_path / "report.json").read_text())["counts"]
    assert sum(counts.values()) == 500
    assert {key.split()[0] for key in counts} == set(TARGETS), "every way in was tried"


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is limited on Linux only")
def test_the_harness_finds_known_defects(tmp_path: Path) -> None:
    words = ["--cases", 40, "--seconds", 0.3, "--module", "tests.helpers.fuzz_traps"]
    result = fuzz(*words, report=tmp_path / "report.json")
    assert result.returncode == 1, result.stderr
    found = json.loads((tmp_path / "report.json").read_text())["findings"]
    kinds = {(item["target"], item["kind"]) for item in found}
    assert kinds == {
        ("raise", "exception"),
        ("run_on", "hang"),
        ("write_outside", "outside"),
        ("read_outside", "outside"),
        ("start", "outside"),
        ("fill", "memory"),
        ("fill_quietly", "memory"),
        ("?", "crash"),
    }


@pytest.mark.parametrize("name", TARGETS)
def test_cases_depend_only_on_the_seed_and_are_damaged(name: str) -> None:
    make = TARGETS[name].make
    cases = [make(random.Random(number)) for number in range(20)]
    assert cases == [make(random.Random(number)) for number in range(20)]
    assert len({repr(sorted(case.items())) for case in cases}) > 10


def test_undamaged_files_are_read(tmp_path: Path) -> None:
    """Otherwise the cases would fail for another reason than the damage."""
    for name, files in (("model", seeds.model()), ("checkpoint", seeds.checkpoint())):
        folder = tmp_path / name
        folder.mkdir()
        for path, content in files.items():
            (folder / path).write_bytes(content)
        TARGETS[name].read(folder)
    pictures = [("image", each) for each in seeds.images()]
    pictures += [("mask", each) for each in seeds.masks()]
    pictures += [("stack", each) for each in seeds.stacks()]
    for name, (suffix, content) in pictures:
        folder = tmp_path / f"{name}{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        (folder / f"a{suffix}").write_bytes(content)
        TARGETS[name].read(folder)
