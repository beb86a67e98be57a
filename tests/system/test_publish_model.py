"""``scripts/publish_model.py`` accepts only metrics of the same weights."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from latentfm_core.config import with_overrides
from latentfm_core.errors import ModelFolderError
from latentfm_core.model_io.folder import load_model, read_card, write_card
from tests.helpers.processes import load_script


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = load_script("publish_model")
    monkeypatch.setattr(module, "BUNDLED", tmp_path / "bundled")
    monkeypatch.setattr(module, "PAGES", tmp_path / "pages")
    return module


@pytest.fixture
def measured(tiny_model_folder: Path, tmp_path: Path) -> Callable[..., tuple[Path, Path]]:
    """Return a function that makes a model folder and a summary of its test figures."""

    def make(sha256: str | None = None) -> tuple[Path, Path]:
        folder = tmp_path / "trained"
        shutil.copytree(tiny_model_folder, folder)
        summary: dict[str, Any] = {
            "model": {"sha256": sha256 or read_card(folder).weights_sha256},
            "metrics": {"dice": 0.8125, "iou": 0.75, "reliability": {"count": [1, 2]}},
            "command": "latentfm-evaluate --part test",
        }
        file = tmp_path / "summary.json"
        file.write_text(json.dumps(summary))
        return folder, file

    return make


def test_a_published_model_loads_and_its_page_has_figures_and_command(
    script: ModuleType, measured: Callable[..., tuple[Path, Path]], tmp_path: Path
) -> None:
    folder, summary = measured()
    card_file = script.publish(folder, summary)
    _, card = load_model(card_file.parent)
    assert card.metrics["test_dice"] == 0.8125
    assert "test_reliability" not in card.metrics, "cards hold numbers"
    page = (tmp_path / "pages" / f"{card.id}.md").read_text()
    assert "| all | 0.812 | 0.750 | | | |" in " ".join(page.split())
    assert "latentfm-evaluate --part test" in page
    assert card.weights_sha256 in page


def test_figures_of_other_weights_are_refused(
    script: ModuleType, measured: Callable[..., tuple[Path, Path]], tmp_path: Path
) -> None:
    folder, summary = measured("0" * 64)
    with pytest.raises(ModelFolderError, match="other weights"):
        script.publish(folder, summary)
    assert not (tmp_path / "bundled").exists()


def test_a_model_that_is_too_large_is_refused(
    script: ModuleType,
    measured: Callable[..., tuple[Path, Path]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(script, "MAX_BYTES", 10)
    folder, summary = measured()
    with pytest.raises(ModelFolderError, match="larger than"):
        script.publish(folder, summary)
    assert not (tmp_path / "bundled").exists()


def test_without_a_summary_only_a_distilled_model_with_figures_is_published(
    script: ModuleType, measured: Callable[..., tuple[Path, Path]], tmp_path: Path
) -> None:
    folder, _ = measured()
    with pytest.raises(ModelFolderError, match="summary of the test part"):
        script.publish(folder, None)
    card = read_card(folder)
    made = card.training.model_copy(update={"command": "latentfm-train --preset distill"})
    few_steps = ["model.distilled_steps=2", "training.distill.epochs=1"]
    metrics = {"test_dice": 0.75, "test_iou": 0.6}
    metrics |= {"val_dice_steps_1": 0.7123, "val_dice_steps_2": 0.7346}
    update = {
        "distillation": made,
        "metrics": metrics,
        "config": with_overrides(card.config, few_steps),
    }
    write_card(folder, card.model_copy(update=update))
    script.publish(folder, None)
    page = (tmp_path / "pages" / f"{card.id}.md").read_text()
    assert "| all | 0.750 | 0.600 |" in page
    assert "latentfm-train --preset distill" in page
    assert "steps, from 1: 0.712, 0.735." in page
