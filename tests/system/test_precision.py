"""The precision of a run: one default for command, panel and Python, recorded as used."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
import zarr

from latentfm_core.cli.evaluate import main as evaluate
from latentfm_core.cli.predict import main as predict
from latentfm_core.config import NUMBER_FORMATS, Precision, SamplingConfig
from latentfm_core.errors import ConfigError
from latentfm_core.images.large import large_image
from latentfm_core.inference.device import resolve_precision
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.inference.stack import segment_stack
from latentfm_core.prediction.large import segment_large
from latentfm_core.types import ImageInput
from napari_latentfm.layers.specs import METADATA_KEY
from tests.helpers.commands import Printed
from tests.helpers.fixtures import Folders, copy_model, with_sampling
from tests.helpers.pictures import disc_image
from tests.helpers.plugin_fixtures import OpenPanel, run

OTHER: dict[Precision, Precision] = {"fp32": "bf16", "bf16": "fp32"}
FEW = ["--samples", "3", "--steps", "2", "--seed", "7", "--device", "cpu", "--quiet"]


def few(precision: Precision = "auto") -> SamplingConfig:
    return SamplingConfig(n_samples=3, steps=2, seed=7, device="cpu", precision=precision)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, disc_image((48, 64), 12), photometric="rgb")
    return path


@pytest.fixture
def made_for(tiny_model_folder: Path, tmp_path: Path) -> Callable[[Precision], Path]:
    """Return a function that makes a model with a given precision on its card."""

    def make(precision: Precision) -> Path:
        folder = copy_model(tiny_model_folder, tmp_path / f"made_for_{precision}")
        return with_sampling(folder, precision=precision)

    return make


def sidecar(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "a.json").read_text())
    return found


# --- what auto means ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("features", "limit", "wanted"),
    [
        ({"avx2": True, "avx512_bf16": False}, None, torch.float32),
        ({"avx2": True, "avx512_bf16": True}, None, torch.bfloat16),
        ({"amx_bf16": True}, None, torch.bfloat16),
        ({"avx512_bf16": True}, "AVX2", torch.float32),
        ({"avx512_bf16": True, "amx_bf16": True}, "avx512_core_vnni", torch.float32),
        ({"avx512_bf16": True}, "AVX512_CORE_BF16", torch.bfloat16),
        ({"avx512_bf16": True}, "DEFAULT", torch.bfloat16),
    ],
)
def test_auto_depends_on_the_processor_and_the_onednn_limit(
    features: dict[str, bool],
    limit: str | None,
    wanted: torch.dtype,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"):
        monkeypatch.delenv(name, raising=False)
    if limit is not None:
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: features, raising=False)
    assert resolve_precision("auto", torch.device("cpu")) == wanted


@pytest.mark.parametrize(
    ("capability", "wanted"), [((7, 5), torch.float32), ((8, 0), torch.bfloat16)]
)
def test_auto_is_bf16_only_on_a_gpu_with_native_support(
    capability: tuple[int, int], wanted: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: capability)
    # True on older GPUs too, which emulate it.
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: True)
    assert resolve_precision("auto", torch.device("cuda")) == wanted


# --- one default ----------------------------------------------------------------------------


def test_command_panel_and_python_accept_auto(
    auto_precision: Precision,
    tiny_model_folder: Path,
    image: Path,
    tmp_path: Path,
    docked_panel: OpenPanel,
    qtbot: Any,
) -> None:
    """Without an option, all three use the precision of the processor, and give equal bits."""
    _all_three_agree(auto_precision, tiny_model_folder, image, tmp_path, docked_panel, qtbot)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_command_panel_and_python_use_the_precision_of_the_card(
    precision: Precision,
    made_for: Callable[[Precision], Path],
    image: Path,
    tmp_path: Path,
    docked_panel: OpenPanel,
    qtbot: Any,
) -> None:
    _all_three_agree(precision, made_for(precision), image, tmp_path, docked_panel, qtbot)


def _all_three_agree(
    precision: Precision,
    model: Path,
    image: Path,
    tmp_path: Path,
    docked_panel: OpenPanel,
    qtbot: Any,
) -> None:
    full = NUMBER_FORMATS[precision]
    pixels = tifffile.imread(image)
    segmenter = Segmenter.load(model, "cpu")
    samples = segmenter.sample(ImageInput(pixels), few())
    wanted = segmenter.summarise(samples)
    assert segmenter.precision == samples.settings["precision"] == precision

    words = ["--model", str(model), *FEW]
    for name, more in (("usual", []), ("named", ["--precision", precision])):
        assert predict([str(image), "--out", str(tmp_path / name), *words, *more]) == 0
        stored = sidecar(tmp_path / name)
        assert (stored["precision"], full in stored["device"]) == (full, True)
        assert stored["expected_dice"] == wanted.expected_dice
        found = tifffile.imread(tmp_path / name / "a_confidence.tif")
        np.testing.assert_array_equal(found, wanted.confidence)

    viewer, panel = docked_panel()
    panel.form.model.choose(model)
    panel.form.n_samples.value, panel.form.steps.value, panel.form.seed.value = 3, 2, 7
    assert full in panel.form.device_label.value, "before the run"
    viewer.add_image(pixels, rgb=True, name="a")
    assert run(qtbot, panel) == "done", panel.last_error
    assert full in panel.form.device_label.value
    layer = viewer.layers["a · confidence"]
    assert layer.metadata[METADATA_KEY]["settings"]["precision"] == precision
    np.testing.assert_array_equal(layer.data, wanted.confidence)


# --- what is recorded is what was used ------------------------------------------------------


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_result_records_how_the_model_was_loaded(
    precision: Precision, auto_precision: Precision, tiny_model_folder: Path, tmp_path: Path
) -> None:
    """The precision in use is recorded, not what ``auto`` would mean on this processor."""
    segmenter = Segmenter.load(tiny_model_folder, "cpu", precision)
    pixels = disc_image((48, 64), 12)
    for settings in (few(), few(precision), None):
        drawn = segmenter.sample(ImageInput(pixels), settings)
        assert drawn.settings["precision"] == precision
        again = SamplingConfig(**drawn.settings)
        np.testing.assert_array_equal(
            segmenter.sample(ImageInput(pixels), again).probabilities, drawn.probabilities
        )
    stack = segment_stack(segmenter, [ImageInput(pixels)] * 2, few())
    assert stack.first.settings["precision"] == precision
    large = segment_large(segmenter, large_image(pixels), tmp_path / "b.zarr", few())
    assert large.drawn.record.settings["precision"] == precision
    attributes = dict(zarr.open_group(str(large.folder), mode="r").attrs)
    assert f'"precision": "{precision}"' in json.dumps(attributes)


@pytest.mark.parametrize("form", ["one image", "in tiles", "stack"])
def test_a_precision_other_than_that_of_the_model_is_refused(
    form: str, segmenter: Segmenter, tmp_path: Path
) -> None:
    """Falling back to the model's own precision would go unnoticed."""
    image = ImageInput(disc_image((48, 64), 12))
    with pytest.raises(ConfigError, match=r"require precision bf16.*loaded for fp32.*to auto"):
        if form == "one image":
            segmenter.sample(image, few("bf16"))
        elif form == "stack":
            segment_stack(segmenter, [image], few("bf16"))
        else:
            segment_large(segmenter, large_image(image.pixels), tmp_path / "b.zarr", few("bf16"))
    assert not (tmp_path / "b.zarr").exists()


def test_a_model_can_be_loaded_with_another_precision(
    made_for: Callable[[Precision], Path],
) -> None:
    segmenter = Segmenter.load(made_for("bf16"), "cpu", "fp32")
    drawn = segmenter.sample(ImageInput(disc_image((48, 64), 12)))
    assert drawn.settings["precision"] == "fp32"


def test_skip_done_continues_only_with_the_same_precision(
    auto_precision: Precision,
    tiny_model_folder: Path,
    image: Path,
    tmp_path: Path,
    refused: Printed,
) -> None:
    other = OTHER[auto_precision]
    for extra in ([], ["--tiled"]):
        out = tmp_path / f"out{len(extra)}"
        words = [str(image), "--out", str(out), "--model", str(tiny_model_folder), *FEW, *extra]
        assert predict(words) == 0
        assert predict([*words, "--skip-done"]) == 0
        assert predict([*words, "--skip-done", "--precision", auto_precision]) == 0
        message = refused(predict, [*words, "--skip-done", "--precision", other])
        assert f"computed in {NUMBER_FORMATS[auto_precision]}" in message
        assert f"would use {NUMBER_FORMATS[other]} (--precision)" in message


def test_an_evaluation_records_its_precision(
    auto_precision: Precision, tiny_model_folder: Path, blob_folders: Folders, tmp_path: Path
) -> None:
    folders = ["--images", str(blob_folders[0]), "--masks", str(blob_folders[1])]
    words = [*folders, "--model", str(tiny_model_folder), "--out", str(tmp_path), *FEW]
    assert evaluate(words) == 0
    settings = json.loads((tmp_path / "summary.json").read_text())["settings"]
    assert settings["precision"] == NUMBER_FORMATS[auto_precision]
    assert NUMBER_FORMATS[auto_precision] in settings["device"]
