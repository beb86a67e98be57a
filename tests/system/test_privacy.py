"""Results contain no patient data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image, PngImagePlugin

from latentfm_core.cli.predict import main as predict

ROOT = Path(__file__).resolve().parents[2]

SECRETS = ("Miller-Jane", "1961-04-01", "Ward-Seven", "Camera-4711")


def _with_patient(folder: Path) -> list[Path]:
    """Write pictures with patient data in every kind of metadata that Pillow writes."""
    name, born, ward, camera = SECRETS
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    exif = Image.Exif()
    exif[315], exif[270], exif[306], exif[272] = name, ward, born, camera
    exif.get_ifd(0x8825)[1] = ward
    picture = Image.fromarray(pixels)
    picture.save(folder / "a.jpg", exif=exif, comment=name.encode())
    text = PngImagePlugin.PngInfo()
    text.add_text("PatientName", name)
    text.add_itxt("XML:com.adobe.xmp", f"<x>{born} {ward}</x>")
    picture.save(folder / "b.png", pnginfo=text, exif=exif)
    tags = [(315, "s", 0, name, True), (65001, "s", 0, born, True)]
    tifffile.imwrite(
        folder / "c.tif",
        pixels,
        description=ward,
        extratags=tags,
        software=camera,
        metadata=None,
    )
    return sorted(folder.iterdir())


def test_results_contain_no_patient_data(tmp_path: Path, tiny_model_folder: Path) -> None:
    images = tmp_path / SECRETS[0] / "pictures"
    images.mkdir(parents=True)
    written = _with_patient(images)
    assert all(any(s.encode() in path.read_bytes() for s in SECRETS) for path in written)
    out = tmp_path / "out"
    words = [images, "--out", out, "--model", tiny_model_folder, "--samples", 2, "--steps", 1]
    assert predict([*map(str, words), "--device", "cpu", "--quiet"]) == 0
    files = [path for path in out.rglob("*") if path.is_file()]
    assert len([path for path in files if path.suffix == ".json"]) == 3
    for path in files:
        content = path.read_bytes()
        for secret in (*SECRETS, str(tmp_path), str(Path.home())):
            assert secret.encode() not in content, f"{secret} in {path.name}"
    reported = json.loads((out / "a.json").read_text())
    assert reported["image"] == "a.jpg"
    assert not {"exif", "metadata", "path", "folder"} & set(reported)


def test_an_annotation_contains_no_patient_data(
    tmp_path: Path, tiny_model_folder: Path, make_napari_viewer_proxy: Any, qtbot: Any
) -> None:
    """Through the work list, which knows the path of every image."""
    from napari_latentfm.annotation.writing import write_labels
    from napari_latentfm.results.session import session_of
    from napari_latentfm.worklist.panel import QueuePanel
    from tests.helpers.plugin_fixtures import PATIENCE

    images = tmp_path / SECRETS[0]
    images.mkdir()
    _with_patient(images)
    viewer = make_napari_viewer_proxy()
    panel = QueuePanel(viewer)
    viewer.window.add_dock_widget(panel)
    panel.form.model.choose(tiny_model_folder)
    panel.form.n_samples.setValue(2)
    panel.form.folder.setText(str(images))
    panel.form.output.setText(str(tmp_path / "out"))
    seen: list[str] = []
    panel.shown.connect(seen.append)
    panel.open_folder()
    qtbot.waitUntil(lambda: "a.jpg" in seen, timeout=PATIENCE)
    mask = np.zeros((64, 64), bool)
    mask[:9, :9] = True
    write_labels(session_of(viewer), mask)
    panel.accept()
    qtbot.waitUntil(lambda: "b.png" in seen, timeout=PATIENCE)
    assert (tmp_path / "out" / "a.tif.json").is_file()
    for path in (tmp_path / "out").rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            for secret in (*SECRETS, str(tmp_path)):
                assert secret.encode() not in content, f"{secret} in {path.name}"


@pytest.mark.parametrize("place", ["panel", "bundled cards", "new cards", "README"])
def test_the_research_use_notice_is_shown(
    place: str, tiny_model_folder: Path, docked_panel: Any
) -> None:
    from latentfm_core.model_io.bundled import bundled_models, resolve_model
    from latentfm_core.model_io.card import DISCLAIMER, read_card

    assert "not a medical device" in DISCLAIMER
    if place == "panel":
        _, panel = docked_panel()
        assert panel.form.disclaimer.value == DISCLAIMER
    elif place == "bundled cards":
        for name in bundled_models():
            assert read_card(resolve_model(name)).intended_use.startswith(DISCLAIMER)
    elif place == "new cards":
        assert read_card(tiny_model_folder).intended_use.startswith(DISCLAIMER)
    else:
        assert DISCLAIMER in (ROOT / "README.md").read_text("utf-8")
