"""The intervals of evaluations, and of paired differences between two of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.intervals import main


@pytest.fixture
def evaluations(tmp_path: Path) -> tuple[Path, Path]:
    new, old = tmp_path / "new.csv", tmp_path / "old.csv"
    new.write_text("name,dice\na,0.9\nb,0.05\n")
    old.write_text("name,dice\na,0.8\nb,0.15\n")
    return new, old


def printed_by(
    words: list[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> str:
    monkeypatch.setattr("sys.argv", ["intervals", *words])
    caplog.set_level("INFO")
    assert main() == 0
    return caplog.messages[-1]


def test_missed_images_and_paired_differences(
    evaluations: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    new, old = map(str, evaluations)
    alone = printed_by([new], monkeypatch, caplog)
    assert "2 images, 50.0 % below 0.1, others 0.900" in alone
    change = printed_by([new, "--minus", old], monkeypatch, caplog)
    assert change.startswith(f"{new}: ")
    assert "0.000 [-0.100, 0.100], 2 images" in change


def test_evaluations_of_other_images_are_rejected(
    evaluations: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    new, old = evaluations
    old.write_text("name,dice\na,0.8\nc,0.15\n")
    with pytest.raises(SystemExit, match="different images"):
        printed_by([str(new), "--minus", str(old)], monkeypatch, caplog)
