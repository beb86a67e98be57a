"""A short run of the crash harness, and known defects that it must find.

``python -m robustness.crash --kills 200`` is the long run; docs/reliability.md holds its figures.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def kill(*arguments: object, report: Path) -> tuple[int, dict[str, Any], str]:
    words = [
        sys.executable,
        "-m",
        "robustness.crash",
        *map(str, arguments),
        "--report",
        str(report),
    ]
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    result = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True)
    said = result.stdout + result.stderr
    return result.returncode, json.loads(report.read_text()) if report.exists() else {}, said


def test_work_killed_during_a_write_is_consistent_and_resumes(tmp_path: Path) -> None:
    names = ["training", "prediction", "autosave", "marks"]
    words = ["--kills", 8, "--seed", 5, "--steered", 1, "--victims", ",".join(names)]
    code, tallies, said = kill(*words, report=tmp_path / "report.json")
    assert code == 0, said
    assert set(tallies) == set(names)
    assert all(tally["kills"] >= 2 for tally in tallies.values())
    assert sum(tally["steered"] for tally in tallies.values()) >= 8


def test_two_writers_of_one_folder_keep_every_state(tmp_path: Path) -> None:
    names = ["two writers of a work list", "two predictions of a folder"]
    words = ["--kills", 8, "--seed", 3, "--victims", ",".join(names)]
    code, tallies, said = kill(*words, report=tmp_path / "report.json")
    assert code == 0, said
    assert all(tally["kills"] >= 4 for tally in tallies.values())


def test_the_harness_finds_known_defects(tmp_path: Path) -> None:
    words = ["--kills", 60, "--module", "tests.helpers.crash_traps"]
    code, tallies, said = kill(*words, report=tmp_path / "report.json")
    assert code == 1, said
    expected = {
        "in place": "torn",
        "too early": "lost",
        "leave parts": "under way still",
        "give up": "exit status",
        "count starts": "different",
    }
    for name, defect in expected.items():
        found = "\n".join(tallies[name]["findings"])
        assert defect in found, (name, said)
