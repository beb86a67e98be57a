"""A large image in tiles from the panel: on disk, as layers, and opened again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import dask.array
import numpy as np
import pytest
import zarr

from latentfm_core.config import SamplingConfig, TilingConfig
from latentfm_core.errors import ImageError
from latentfm_core.images.large import large_image
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.prediction.large import segment_large
from napari_latentfm.layers.planes import displayed_plane
from napari_latentfm.sampling import form_memory
from napari_latentfm.sampling.controls import TILES
from napari_latentfm.sampling.panel import SamplingPanel
from napari_latentfm.sampling.tiled import PlaneOfLevel, unused_path
from tests.helpers.plugin_fixtures import OpenPanel, disc_image, docked, run

ROLES = ["mean probability", "confidence", "samples", "mean mask"]


@pytest.fixture
def tiling_panel(docked_panel: OpenPanel, tmp_path: Path) -> tuple[Any, SamplingPanel]:
    viewer, panel = docked_panel()
    panel.form.field.value = TILES
    panel.form.results.value = tmp_path
    return viewer, panel


def world(layer: Any, *pixels: float) -> np.ndarray:
    """Return the world coordinates of a pixel of a layer."""
    return np.asarray(layer.data_to_world(pixels))


def test_a_tiled_run_equals_python_and_aligns_with_its_image(
    tiling_panel: tuple[Any, SamplingPanel], qtbot: Any, tiny_model_folder: Path, tmp_path: Path
) -> None:
    viewer, panel = tiling_panel
    pixels = disc_image((160, 192), radius=40)
    source = viewer.add_image(pixels, name="slide", scale=(0.5, 0.25), translate=(7, 3), rotate=30)
    panel.form.scale.value = 0.5
    assert run(qtbot, panel) == "done", panel.last_error
    assert str(tmp_path / "slide.zarr") in panel.form.status.value

    settings = SamplingConfig(n_samples=3, steps=2, device="cpu")
    segmenter = Segmenter.load(tiny_model_folder, "cpu")
    wanted = segment_large(
        segmenter, large_image(pixels), tmp_path / "wanted.zarr", settings, TilingConfig(scale=0.5)
    )
    ours = zarr.open_group(str(tmp_path / "slide.zarr"), mode="r")
    theirs = zarr.open_group(str(wanted.folder), mode="r")
    for name in ("mean_probability/0", "confidence/0", "sample_masks/0"):
        np.testing.assert_array_equal(ours[name][:], theirs[name][:])
    sidecar = json.loads((tmp_path / "slide.json").read_text())
    assert sidecar["tiling"]["image_shape"] == [160, 192]
    assert sidecar["spacing"] == [0.5, 0.25]

    layers = {layer.name.split(" · ")[1]: layer for layer in list(viewer.layers)[1:]}
    assert list(layers) == ROLES
    np.testing.assert_array_equal(np.asarray(layers["samples"].data), theirs["sample_masks/0"][:])
    for layer in layers.values():
        lead = (0,) * (layer.ndim - 2)
        # The middle of a pixel of the maps is that of the 2 x 2 pixels of the image below it.
        here = world(layer, *lead, 10, 20)[-2:]
        np.testing.assert_allclose(here, world(source, 20.5, 40.5)[-2:])
    assert panel.form.image.value.unique_id == source.unique_id

    before = sorted((tmp_path / "slide.zarr").rglob("*"))
    panel.form.seed.value = 5
    assert run(qtbot, panel) == "done", panel.last_error
    assert (tmp_path / "slide-2.zarr").is_dir()
    assert sorted((tmp_path / "slide.zarr").rglob("*")) == before
    assert len(viewer.layers) == 1 + 2 * len(ROLES)


def test_cancelling_a_tiled_run_leaves_no_file_or_layer(
    tiling_panel: tuple[Any, SamplingPanel], qtbot: Any, tmp_path: Path
) -> None:
    viewer, panel = tiling_panel
    viewer.add_image(disc_image((400, 600), radius=60), name="slide")
    endings: list[str] = []
    panel.finished.connect(endings.append)
    panel.run()
    qtbot.waitUntil(lambda: "of the tiles" in panel.form.status.value, timeout=60_000)
    panel.cancel()
    qtbot.waitUntil(lambda: bool(endings), timeout=60_000)
    assert endings == ["cancelled"]
    assert list(tmp_path.iterdir()) == []
    assert [layer.name for layer in viewer.layers] == ["slide"]


def test_a_plane_of_a_lazy_pyramid_is_read_part_by_part(
    tiling_panel: tuple[Any, SamplingPanel], qtbot: Any, tmp_path: Path
) -> None:
    viewer, panel = tiling_panel
    stack = np.stack([disc_image((80, 100))[..., 0] // (n + 1) for n in range(3)])
    levels = [dask.array.from_array(stack), dask.array.from_array(stack[:, ::2, ::2])]
    source = viewer.add_image(levels, multiscale=True, name="a/scan", scale=(4, 1, 1))
    viewer.dims.set_current_step(0, 2)
    assert run(qtbot, panel) == "done", panel.last_error
    mask = viewer.layers["a_scan [2] · mean mask"]
    np.testing.assert_allclose(world(mask, 0, 3, 4), world(source, 2, 3, 4))
    part = PlaneOfLevel(levels[1], displayed_plane(source, viewer.dims))
    np.testing.assert_array_equal(part[2:9, 30:50], stack[2, 4:18:2, 60:100:2])
    assert (tmp_path / "a_scan [2].zarr").is_dir()


@pytest.mark.parametrize(("folder", "message"), [("", "Choose a folder"), ("gone", "no folder")])
def test_a_missing_results_folder_is_reported(
    tiling_panel: tuple[Any, SamplingPanel], qtbot: Any, tmp_path: Path, folder: str, message: str
) -> None:
    viewer, panel = tiling_panel
    viewer.add_image(disc_image(), name="slide")
    panel.form.results.line_edit.value = str(tmp_path / folder) if folder else ""
    assert run(qtbot, panel) == "failed"
    assert message in panel.last_error
    assert list(tmp_path.iterdir()) == []


def test_the_results_folder_is_saved_between_sessions(
    tiling_panel: tuple[Any, SamplingPanel], tmp_path: Path
) -> None:
    viewer, panel = tiling_panel
    panel.form.scale.value = 0.25
    kept = form_memory.state(panel.form)
    other = docked(viewer, SamplingPanel(viewer)).form
    assert other.results.line_edit.value == ""
    form_memory.restore(other, form_memory.state(other))
    assert other.results.line_edit.value == ""
    form_memory.restore(other, kept)
    assert (other.results.value, other.scale.value) == (tmp_path, 0.25)


def test_a_result_can_be_reopened_from_the_menu(
    make_napari_viewer: Any, npe2pm: Any, tiny_model_folder: Path, tmp_path: Path
) -> None:
    settings = SamplingConfig(n_samples=2, steps=1, device="cpu")
    image = large_image(disc_image((80, 1200)), (0.5, 0.5), "micrometer", "slide")
    segmenter = Segmenter.load(tiny_model_folder, "cpu")
    segment_large(segmenter, image, tmp_path / "slide.zarr", settings, TilingConfig(overlap=0))
    viewer = make_napari_viewer()
    with npe2pm.tmp_plugin(package="napari-latentfm"):
        viewer.open(tmp_path / "slide.zarr", plugin="napari-latentfm")
    assert [layer.name for layer in viewer.layers] == [f"slide · {role}" for role in ROLES]
    samples = viewer.layers["slide · samples"]
    assert samples.multiscale
    assert samples.data[0].shape == (2, 80, 1200)
    np.testing.assert_allclose(world(samples, 1, 10, 20), (1, 5, 10))
    assert str(samples.units[-1]) == "micrometer"
    chunk = tmp_path / "slide.zarr" / "mean_probability" / "0" / "0" / "0"
    content = chunk.read_bytes()
    # Blosc: decodes to a gigabyte, as it claims.
    chunk.write_bytes(content[:4] + (2**30).to_bytes(4, "little") + content[8:])
    with pytest.raises(ValueError, match="a chunk decodes to at least"):
        viewer.layers["slide · mean probability"].data[0][:10, :10].compute()


def test_an_unknown_or_damaged_zarr_folder_is_not_read(tmp_path: Path) -> None:
    from napari_latentfm.layers.zarr import read_stored, stored_maps

    foreign = tmp_path / "foreign.zarr"
    zarr.open_group(str(foreign), mode="w", zarr_format=2).create_array("0", data=np.zeros((4, 4)))
    assert read_stored(str(foreign)) is None
    assert read_stored(str(tmp_path)) is None
    assert read_stored([str(foreign)]) is None
    with pytest.raises(ImageError, match="no complete result"):
        stored_maps(foreign)


def test_a_result_gets_an_unused_name_that_is_valid_on_every_system(tmp_path: Path) -> None:
    assert unused_path(tmp_path, 'a:b/c"').name == "a_b_c_.zarr"
    assert unused_path(tmp_path, "..").name == "image.zarr"
    (tmp_path / "x.json").write_text("{}")
    assert unused_path(tmp_path, "x").name == "x-2.zarr"
