"""Warnings about images that are unlike the training images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.utils.notifications import notification_manager

from napari_latentfm.annotation.layer import annotation_of
from napari_latentfm.annotation.provenance import facts_of, sidecar_of
from napari_latentfm.annotation.writing import write_mask
from napari_latentfm.layers.specs import METADATA_KEY
from napari_latentfm.results.session import session_of
from napari_latentfm.sampling.panel import SamplingPanel
from napari_latentfm.sampling.status import UNLIKE
from tests.helpers.plugin_fixtures import run

Open = Callable[..., tuple[Any, SamplingPanel]]
pytestmark = pytest.mark.usefixtures("forget_notifications")


def warnings() -> list[str]:
    return [note.message for note in notification_manager.records if UNLIKE in note.message]


def noise() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)


def test_the_out_of_domain_warning_comes_first_and_notifies_once(
    qtbot: Any, docked_panel: Open, domain_model_folder: Path
) -> None:
    viewer, panel = docked_panel()
    panel.form.folder.value = domain_model_folder
    viewer.add_image(noise(), rgb=True, name="something else")
    for _ in range(2):
        assert run(qtbot, panel) == "done"
        assert panel.form.status.value.startswith(f"something else: ⚠ {UNLIKE}")
        assert "Expected Dice" not in panel.form.status.value
    assert len(warnings()) == 1
    assert "something else" in warnings()[0]
    mean = viewer.layers["something else · mean mask"]
    assert mean.metadata[METADATA_KEY]["domain_score"] > 1


def test_there_is_no_warning_for_an_image_like_the_training_images(
    qtbot: Any, docked_panel: Open, domain_model_folder: Path, blob_folders: tuple[Path, Path]
) -> None:
    viewer, panel = docked_panel()
    panel.form.folder.value = domain_model_folder
    viewer.open(str(blob_folders[0] / "blob_000.png"), plugin="napari")
    assert run(qtbot, panel) == "done"
    assert panel.form.status.value.startswith("blob_000: ")
    assert warnings() == []


def test_an_annotation_records_the_domain_score(
    qtbot: Any, docked_panel: Open, domain_model_folder: Path
) -> None:
    viewer, panel = docked_panel()
    panel.form.folder.value = domain_model_folder
    viewer.add_image(noise(), rgb=True, name="something else")
    assert run(qtbot, panel) == "done"
    session = session_of(viewer)
    assert session.current is not None
    write_mask(session, session.current.result.summary.sample_masks[0])
    layer = annotation_of(session)
    assert layer is not None
    facts = facts_of(layer)
    assert facts is not None
    output = sidecar_of(facts, layer.data)
    assert output.proposals[0].domain_score == session.current.result.summary.domain_score
