"""Claims on results that several processes make together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from latentfm_core.errors import OutputError
from latentfm_core.prediction.claims import FOLDER, Claims


@dataclass(frozen=True)
class Result:
    """A result of one file."""

    folder: Path
    name: str = "scan"

    def paths(self) -> list[Path]:
        return [self.folder / f"{self.name}.json"]


def test_claims_that_another_process_is_removing_are_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    claims, make = Claims(tmp_path), Path.mkdir
    (tmp_path / FOLDER).mkdir()
    removals = iter([True, True])

    def removed_meanwhile(path: Path, *args: object, **kwargs: object) -> None:
        # `mkdir` finds the folder, which is removed before it looks whether that is a folder.
        if path.name == FOLDER and next(removals, False):
            claims.remove_if_empty()
            raise FileExistsError(17, "File exists")
        make(path, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "mkdir", removed_meanwhile)
    with claims.claimed(Result(tmp_path)) as mine:
        assert mine
        with claims.claimed(Result(tmp_path)) as again:
            assert not again


def test_a_file_in_the_place_of_the_claims_is_named(tmp_path: Path) -> None:
    (tmp_path / FOLDER).write_text("mine")
    with (
        pytest.raises(OutputError, match=r"Cannot claim results .* File exists"),
        Claims(tmp_path).claimed(Result(tmp_path)),
    ):
        pass
    assert (tmp_path / FOLDER).read_text() == "mine"
