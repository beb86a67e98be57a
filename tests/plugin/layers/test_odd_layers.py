"""Unusual images as layers: the correct result in place, or a message."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import dask.array
import numpy as np
import pytest

from latentfm_core.config import SamplingConfig
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.types import ImageInput
from napari_latentfm.layers.specs import METADATA_KEY
from napari_latentfm.sampling.panel import SamplingPanel
from tests.helpers.odd_images import ARRAYS, BOOL, COLOUR, GREY
from tests.helpers.plugin_fixtures import PATIENCE, OpenPanel, assert_idle, run, run_to_first_step


@dataclass(frozen=True)
class OddLayer:
    """One row of the table.

    Attributes
    ----------
    name
        What is odd about it.
    data
        Returns the data, given a folder for files.
    options
        Of `add_image`.
    plane
        The 2D picture that is on screen, whose samples the result has to be; or None.
    refused
        Else, what the panel has to say.
    at
        Position of the sliders, by axis of the layer.
    """

    name: str
    data: Callable[[Path], Any]
    options: dict[str, Any]
    plane: np.ndarray | None = None
    refused: str = ""
    at: tuple[tuple[int, int], ...] = ()


def _memory_map(folder: Path) -> Any:
    np.save(folder / "mapped.npy", COLOUR)
    return np.load(folder / "mapped.npy", mmap_mode="r")


def _read_only(_: Path) -> np.ndarray:
    pixels = COLOUR.copy()
    pixels.setflags(write=False)
    return pixels


class _Disk:
    """An array that napari can show, but that is gone when the panel's worker reads it."""

    shape, ndim, dtype = GREY.shape, 2, GREY.dtype

    def __getitem__(self, index: Any) -> np.ndarray:
        if threading.current_thread() is not threading.main_thread():
            raise OSError("the disk is gone")
        return GREY[index]

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        return self[:]


def _rgb(name: str, **options: Any) -> OddLayer:
    return OddLayer(name, lambda _: COLOUR, {"rgb": True, **options}, COLOUR)


_ODD_STACK = np.stack([np.zeros_like(GREY), GREY, 255 - GREY])
_TURN = [[0.8, -0.6, 0.5], [0.6, 0.8, -3], [0, 0, 1]]
_GREY = {"rgb": False, "contrast_limits": (0, 255)}

LAYERS: tuple[OddLayer, ...] = (
    _rgb("plain"),
    _rgb("translated far", translate=(-1e5, 3e4), scale=(2, 2)),
    _rgb("rotated", rotate=37.0, translate=(3, -8)),
    _rgb("sheared", shear=[0.6], scale=(0.5, 2)),
    _rgb("lower shear", shear=[[1, 0], [0.4, 1]]),
    _rgb("negative scale", scale=(-1, 2)),
    _rgb("negative scale, rotated and sheared", scale=(-0.3, -2), rotate=200.0, shear=[-1.2]),
    _rgb("anisotropic scale", scale=(0.001, 7), units=("mm", "um")),
    _rgb("mirrored by an affine", affine=[[0, 1, 5], [1, 0, 2], [0, 0, 1]]),
    _rgb("affine, rotate and scale", affine=_TURN, rotate=10.0, scale=(3, 0.5)),
    _rgb("invisible", visible=False),
    OddLayer("bool", lambda _: BOOL, {"rgb": False}, BOOL),
    OddLayer("int8", lambda _: (GREY.astype(int) - 128).astype(np.int8), {"rgb": False}, GREY),
    OddLayer("uint64", lambda _: GREY.astype(np.uint64) + np.uint64(2**60), {"rgb": False}, GREY),
    OddLayer("float16", lambda _: (GREY / 255).astype(np.float16), {"rgb": False}, GREY),
    OddLayer("float RGBA", lambda _: np.dstack([COLOUR, GREY]) / 255, {"rgb": True}, COLOUR),
    OddLayer("Fortran order", lambda _: np.asfortranarray(COLOUR), {"rgb": True}, COLOUR),
    OddLayer("a view", lambda _: COLOUR.repeat(3, 1)[:, ::3], {"rgb": True}, COLOUR),
    OddLayer("read-only", _read_only, {"rgb": True}, COLOUR),
    OddLayer("memory map", _memory_map, {"rgb": True}, COLOUR),
    OddLayer("dask", lambda _: dask.array.from_array(GREY, chunks=20), _GREY, GREY),
    OddLayer("levels", lambda _: [GREY, GREY[::2, ::2]], {**_GREY, "multiscale": True}, GREY),
    OddLayer("z axis", lambda _: _ODD_STACK, {**_GREY, "scale": (-4, 1, 0.5)}, GREY, at=((0, 1),)),
    OddLayer("time and z", lambda _: np.stack([_ODD_STACK] * 2), _GREY, 255 - GREY,
        at=((0, 1), (1, 2))),
    OddLayer("axes of length 1", lambda _: GREY[None, None, None], _GREY, GREY),
    OddLayer("RGB stack", lambda _: np.stack([COLOUR * 0, COLOUR]), {"rgb": True}, COLOUR,
        at=((0, 1),)),
    OddLayer("5 channels on an axis", lambda _: np.stack([GREY] * 5), _GREY, GREY, at=((0, 4),)),
    OddLayer("blank plane", lambda _: _ODD_STACK, _GREY, refused="constant", at=((0, 0),)),
    OddLayer("colours not as colours", lambda _: COLOUR, _GREY, COLOUR[24], at=((0, 24),)),
    OddLayer("tilted", lambda _: _ODD_STACK, {**_GREY, "rotate": (0, 20, 0)},
        refused="rotated or sheared out of the plane"),
    OddLayer("fails when it is read", lambda _: _Disk(), _GREY,
        refused=r"'odd' cannot be read \(OSError: the disk is gone\)"),
    *(
        OddLayer(odd.name, lambda _, make=odd.make: make(), {"rgb": False}, refused=odd.refused)
        for odd in ARRAYS
        if odd.name in {"NaN", "infinite", "all NaN", "constant", "1 x N", "1 x 1"}
    ),
)  # fmt: skip


def check_place(source: Any, result: Any, plane: tuple[int | None, ...]) -> None:
    """Compare the world coordinates of the corners of the image and of a result."""
    lead = result.ndim - source.ndim
    free = [axis for axis, at in enumerate(plane) if at is None]
    shape = (source.data[0] if source.multiscale else source.data).shape
    for corner in product(*((-0.5, shape[axis] - 0.5) for axis in free)):
        point = np.array([0 if at is None else at for at in plane], float)
        point[free] = corner
        own = np.where([at is None for at in plane], point, 0)
        in_world = np.asarray(result.data_to_world((*[0.0] * lead, *own)))[lead:]
        wanted = np.asarray(source.data_to_world(point))
        assert np.abs(in_world - wanted).max() <= 1e-9 * max(1, np.abs(wanted).max())


RESET: dict[str, Any] = {
    "affine": np.eye(3),
    "shear": [0.0],
    "rotate": 0.0,
    "scale": (1, 1),
    "translate": (0, 0),
    "units": ("pixel", "pixel"),
    "visible": True,
}


def show(viewer: Any, row: OddLayer, folder: Path) -> Any:
    """Return the layer of a row, made as a plain layer that then gets its data, which is faster."""
    data, wishes = row.data(folder), {k: v for k, v in row.options.items() if k in RESET}
    plain = isinstance(data, np.ndarray) and data.ndim == 2 + row.options["rgb"]
    if plain and viewer.layers and data.size and data.dtype.kind in "buif":
        source = viewer.layers[0]
        same = source.rgb == row.options["rgb"] and source.ndim == 2 and not source.multiscale
        if same and isinstance(source.data, np.ndarray):
            source.data = data
            for name, value in {**RESET, **wishes}.items():
                setattr(source, name, value)
            return source
    viewer.layers.clear()
    return viewer.add_image(data, name="odd", **row.options)


@pytest.mark.filterwarnings("ignore:Non-orthogonal slicing")
@pytest.mark.filterwarnings("ignore:invalid value encountered", "ignore:All-NaN")
def test_every_odd_layer_gives_an_aligned_result_or_a_message(
    qtbot: Any, docked_panel: OpenPanel, tiny_model_folder: Path, tmp_path: Path
) -> None:
    viewer, panel = docked_panel()
    segmenter = Segmenter.load(tiny_model_folder, "cpu")
    settings = SamplingConfig(n_samples=3, steps=2, device="cpu")
    wanted: dict[int, np.ndarray] = {}
    for row in LAYERS:
        source = show(viewer, row, tmp_path)
        before = list(viewer.layers)
        for axis, position in row.at:
            viewer.dims.set_current_step(axis, position)
        ending = run(qtbot, panel)
        assert_idle(panel)
        if row.plane is None:
            assert ending == "failed", row.name
            assert re.search(row.refused, _told(panel)), (row.name, panel.last_error)
            assert list(viewer.layers) == before, row.name
            continue
        assert ending == "done", (row.name, panel.last_error)
        if id(row.plane) not in wanted:
            samples = segmenter.sample(ImageInput(row.plane), settings)
            wanted[id(row.plane)] = segmenter.summarise(samples, settings).mean_mask
        results = [layer for layer in viewer.layers if METADATA_KEY in layer.metadata]
        assert len(results) == 4, row.name
        mean = next(layer for layer in results if layer.name.endswith("mean mask"))
        found, picture = np.squeeze(mean.data) > 0, wanted[id(row.plane)]
        overlap = 2 * (found & picture).sum() / max(1, found.sum() + picture.sum())
        assert overlap > 0.95 or not (found.any() or picture.any()), row.name
        for layer in results:
            check_place(source, layer, tuple(mean.metadata[METADATA_KEY]["plane"]))
            if layer.name.endswith(("confidence", "mean probability")):
                assert np.isfinite(layer.data).all()
                assert 0 <= layer.data.min() <= layer.data.max() <= 1


def _told(panel: SamplingPanel) -> str:
    assert panel.form.status.value.endswith(panel.last_error)
    assert "a bug in napari-latentfm" not in str(panel.last_error)
    return str(panel.last_error)


def test_data_replaced_during_a_run_does_not_get_its_result(
    qtbot: Any, docked_panel: OpenPanel
) -> None:
    viewer, panel = docked_panel()
    layer = viewer.add_image(COLOUR, rgb=True, name="a")
    slow, endings = run_to_first_step(qtbot, panel, total=2)
    layer.data = COLOUR[::-1].copy()
    slow.allow(1)
    qtbot.waitUntil(lambda: bool(endings), timeout=PATIENCE)
    assert endings == ["failed"]
    assert "'a' was changed during the run. Run again" in str(panel.last_error)
    assert [layer.name for layer in viewer.layers] == ["a"]
    assert_idle(panel)
