"""Exported models give the results of the original in the programs they are made for."""

from __future__ import annotations

import gc
import json
import socket
import sys
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import bioimageio.spec
import numpy as np
import onnxruntime
import pytest
import torch
from skimage.io import imread, imsave

from latentfm_core.cli.export import main as export_main
from latentfm_core.config import PromptConfig, SamplingConfig
from latentfm_core.export.bioimage import write_package
from latentfm_core.export.recipe import prompt_of
from latentfm_core.images.canvas import canvas_geometry, to_canvas
from latentfm_core.images.intensity import to_rgb
from latentfm_core.inference.box_alignment import SAME_OBJECT
from latentfm_core.inference.prompting import CONTRADICTED
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.model_io.bundled import resolve_model
from latentfm_core.model_io.folder import load_model, read_card, save_model
from latentfm_core.models.latentfm import LatentFM
from latentfm_core.prompts.prompt import Prompt
from latentfm_core.types import Float32, Geometry, ImageInput
from tests.helpers.commands import Printed
from tests.helpers.fixtures import Folders
from tests.helpers.prompting import two_discs

TOLERANCE = 1e-3
"""Largest difference of a probability between ONNX Runtime and PyTorch."""
EXTRA = "pip install 'napari-latentfm[export]'"


@pytest.fixture(autouse=True, scope="module")
def _no_network() -> Iterator[None]:
    """Refuse network access, which bioimageio.spec uses for links and lists of models."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("asked the network")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", refuse)
        patch.setattr(socket, "getaddrinfo", refuse)
        yield


def export(*words: object) -> int:
    return export_main([*map(str, words), "--quiet"])


def blob(folders: Folders, index: int = 30) -> ImageInput:
    return ImageInput(imread(folders[0] / f"blob_{index:03d}.png"))


@contextmanager
def closing_files() -> Iterator[None]:
    """Collect files that bioimageio.spec leaves open here, before other tests run."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        yield
        gc.collect()


def problems(package: Path) -> str:
    """Return the errors that bioimageio.spec finds in a package with all its files."""
    with closing_files():
        found = bioimageio.spec.load_description(package, perform_io_checks=True)
        output = "; ".join(f"{e.loc}: {e.msg}" for e in found.validation_summary.errors)
        del found
    return output


def as_input(image: ImageInput) -> Float32:
    """Return an image of the canvas size as input of the graphs."""
    scaled: Float32 = image.pixels.transpose(2, 0, 1)[None].astype(np.float32) / 255
    return scaled


def session(path: Path) -> Any:
    return onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])


def run_recipe(folder: Path, image: Float32, solver: str, steps: int) -> Float32:
    """Draw samples with only the exported files and ``sampling.json``."""
    few = read_recipe(folder)["few_steps"]
    ending = "_few_steps" if few and solver == "euler" and steps <= few["most_steps"] else ""
    maps = session(folder / f"condition{ending}.onnx").run(None, {"image": image})
    return integrate(folder, maps, solver, steps, ending)


def read_recipe(folder: Path) -> dict[str, Any]:
    recipe: dict[str, Any] = json.loads((folder / "sampling.json").read_text("utf-8"))
    return recipe


def integrate(
    folder: Path,
    maps: list[Float32],
    solver: str,
    steps: int,
    ending: str = "",
    *,
    member: str = "",
    share: slice = slice(None),
) -> Float32:
    """Return the probabilities of the exported noise, given the maps of the condition.

    Of an ensemble, those of the `share` of one member.
    """
    recipe = read_recipe(folder)
    names = recipe["members"]["maps"][member] if member else recipe["ode"]["maps"]
    given = dict(zip(names, maps, strict=True))
    h = np.float32(1 / steps)
    if ending:
        given["h"] = np.array([h])
    network = session(folder / member / f"velocity{ending}.onnx")
    how = recipe["ode"]["solvers"][solver]
    z = np.load(folder / recipe["noise"]["file"])[share]
    assert list(z.shape[1:]) == recipe["noise"]["shape"][1:]
    for step in range(steps):
        slopes: list[Float32] = []
        for node, row in zip(how["nodes"], how["stages"], strict=True):
            state = z + h * sum((a * s for a, s in zip(row, slopes, strict=True)), np.float32(0))
            t = np.array([(step + node) * h], np.float32)
            inputs = {"z": state.astype(np.float32), "t": t, **given}
            slopes.append(network.run(None, inputs)[0])
        moved = z + h * sum(b * s for b, s in zip(how["weights"], slopes, strict=True))
        z = moved.astype(np.float32)
    decoded: Float32 = session(folder / member / "decoder.onnx").run(None, {"z": z})[0]
    return decoded


@pytest.fixture(scope="module")
def parts(tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model as ONNX files, with the noise of three samples."""
    out = tmp_path_factory.mktemp("onnx") / "parts"
    words = ["--model", tiny_model_folder, "--format", "onnx", "--out", out, "--samples", 3]
    assert export(*words, "--seed", 5, "--noise-scale", 1.25) == 0
    return out


@pytest.mark.parametrize(("solver", "steps"), [("euler", 4), ("heun", 2)])
def test_onnx_parts_and_recipe_reproduce_the_samples_of_the_model(
    tiny_model_folder: Path, blob_folders: Folders, parts: Path, solver: Any, steps: int
) -> None:
    image = blob(blob_folders)
    settings = SamplingConfig(n_samples=3, seed=5, steps=steps, solver=solver, noise_scale=1.25)
    own = Segmenter.load(tiny_model_folder, "cpu", "fp32").sample(image, settings).probabilities
    theirs = run_recipe(parts, as_input(image), solver, steps)
    assert own.min() < 0.1, "there is something to compare"
    assert own.max() > 0.9
    np.testing.assert_allclose(theirs[:, 0], own, atol=TOLERANCE)


@pytest.mark.parametrize("shape", [(64, 64), (300, 401), (401, 300), (37, 90), (1000, 3)])
def test_the_recipe_gives_the_image_position_on_the_canvas(
    parts: Path, shape: tuple[int, int]
) -> None:
    image = read_recipe(parts)["image"]
    place = {"height": shape[0], "width": shape[1]}
    names = ("rows", "columns", "top", "left")
    for name in names:
        place[name] = eval(image["content"][name], {"round": round, "max": max, "min": min}, place)
    canvas, geometry = to_canvas(
        np.random.default_rng(0).random((*shape, 3), np.float32), 64, "pad"
    )
    assert geometry.box == tuple(place[name] for name in ("top", "left", "rows", "columns"))
    top, left = place["top"], place["left"]
    assert np.array_equal(canvas[:top], np.repeat(canvas[top : top + 1], top, axis=0))
    assert np.array_equal(canvas[:, :left], np.repeat(canvas[:, left : left + 1], left, axis=1))
    for each in image["examples"]:
        box = canvas_geometry((each["height"], each["width"]), 64, "pad").box
        assert box == tuple(each[name] for name in ("top", "left", "rows", "columns"))


def box_map(recipe: dict[str, Any], box: tuple[float, ...], geometry: Geometry) -> Float32:
    """Draw a box as ``sampling.json`` says."""
    maps = np.zeros(recipe["prompt"]["shape"], np.float32)
    top, left, rows, columns = geometry.box
    field = geometry.window or (0, 0, *geometry.shape)
    scale = np.array([rows / field[2], columns / field[3]])
    ends = (np.reshape(box, (2, 2)) - field[:2]) * scale + (top, left)
    (y, x), (bottom, right) = np.rint(ends).astype(int)
    maps[0, recipe["prompt"]["channels"].index("box"), y:bottom, x:right] = 1
    return maps


def test_a_promptable_model_is_exported_with_its_prompts(
    promptable_model_folder: Path, promptable: Segmenter, tmp_path: Path
) -> None:
    out = tmp_path / "parts"
    words = ["--model", promptable_model_folder, "--format", "onnx", "--out", out]
    assert export(*words, "--samples", 2, "--seed", 3) == 0
    recipe = read_recipe(out)
    rules = recipe["prompt"]["alignment"]
    assert (rules["same_object"], rules["contradicted"]) == (SAME_OBJECT, CONTRADICTED)
    pixels, _ = two_discs(np.random.default_rng(5))
    image = ImageInput(pixels)
    settings = SamplingConfig(n_samples=2, seed=3, steps=4, solver="euler")
    whole = PromptConfig(field_scale=16.0, box_alignment=0)
    encoder = session(out / "image_encoder.onnx")
    answers = []
    for box in ((8.0, 6.0, 56.0, 42.0), (8.0, 54.0, 56.0, 92.0)):
        drawn = promptable.sample(image, settings, prompt=Prompt(box=box), prompting=whole)
        canvas, geometry = to_canvas(to_rgb(image), 64, "pad")
        assert drawn.geometry == geometry, "the whole image"
        given = {"image": canvas.transpose(2, 0, 1)[None]}
        features = dict(
            zip(
                [item.name for item in encoder.get_outputs()], encoder.run(None, given), strict=True
            )
        )
        prompt = box_map(recipe, box, geometry)
        found = session(out / "prompt_encoder.onnx").run(None, {"prompt": prompt, **features})
        theirs = integrate(out, found, "euler", steps=4)
        np.testing.assert_allclose(theirs[:, 0], drawn.probabilities, atol=TOLERANCE)
        answers.append(theirs[:, 0].mean(axis=0) > 0.5)
    assert answers[0].any()
    assert (answers[0] != answers[1]).any(), "each box selects its own object"
    # Without a prompt, condition.onnx gives the same as an empty prompt.
    empty = np.zeros(recipe["prompt"]["shape"], np.float32)
    ours = session(out / "prompt_encoder.onnx").run(None, {"prompt": empty, **features})
    plain = session(out / "condition.onnx").run(None, given)
    for one, other in zip(ours, plain, strict=True):
        np.testing.assert_allclose(one, other, atol=TOLERANCE)


def test_an_ensemble_is_exported_with_all_its_members(
    fold_models: Path, blob_folders: Folders, tmp_path: Path, refused: Printed
) -> None:
    out = tmp_path / "parts"
    words = ["--model", fold_models, "--format", "onnx", "--out", out, "--samples", 5]
    for more in ((), ("--overwrite",)):
        assert export(*words, "--seed", 2, *more) == 0
    image = blob(blob_folders)
    settings = SamplingConfig(n_samples=5, seed=2, steps=2)
    own = Segmenter.load(fold_models, "cpu", "fp32").sample(image, settings).probabilities
    recipe = read_recipe(out)
    members = list(recipe["members"]["maps"])
    assert members == ["fold_0", "fold_1", "fold_2"]
    for index, member in enumerate(members):
        share = slice(index, None, len(members))
        maps = session(out / member / "condition.onnx").run(None, {"image": as_input(image)})
        theirs = integrate(out, maps, "euler", 2, member=member, share=share)
        np.testing.assert_allclose(theirs[:, 0], own[share], atol=TOLERANCE)
    assert f"{members[2]}/decoder.onnx" in recipe["files"]
    (out / "fold_1" / "notes.txt").write_text("mine")
    assert "would be lost: fold_1/notes.txt" in refused(export, *words, "--overwrite")
    zoo = ["--model", fold_models, "--format", "bioimageio", "--out", tmp_path / "model.zip"]
    said = refused(export, *zoo)
    assert "Export one of the folders in it (fold_0, fold_1, fold_2)" in said
    assert not (tmp_path / "model.zip").exists()


def test_the_recipe_has_the_calibration_of_each_prompt_type() -> None:
    card = read_card(resolve_model("generalist"))
    fitted = prompt_of(card)["calibration"]
    assert card.calibration is not None
    assert fitted["box"]["threshold"] != card.calibration.threshold
    for group in ("box", "point"):
        assert fitted[group] == card.prompt_calibrations[group].model_dump(mode="json")


def variant(tiny: Path, folder: Path, **model: Any) -> Path:
    """Write a model of other sizes, with random weights where those of the tiny one do not fit."""
    card = read_card(tiny)
    config = card.config.model_copy(update={"model": card.config.model.model_copy(update=model)})
    if model.get("distilled_steps"):
        stage = config.training.distill.model_copy(update={"epochs": 1})
        training = config.training.model_copy(update={"distill": stage})
        config = config.model_copy(update={"training": training})
    torch.manual_seed(0)
    network = LatentFM(config.model)
    own = load_model(tiny)[0].state_dict()
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            like = name.replace("few_step_velocity.", "velocity.", 1)
            if like in own and own[like].shape == tensor.shape:
                tensor.copy_(own[like])
            else:
                tensor.normal_(std=0.1)
    save_model(folder, network, {"id": "variant", "config": config})
    return folder


@pytest.fixture(params=["one class", "calibrated", "several classes", "few steps"])
def model(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, SamplingConfig]:
    """Return a model for each kind of summary, and how to sample it."""
    tiny = request.getfixturevalue("tiny_model_folder")
    settings = SamplingConfig(n_samples=3, steps=2, solver="midpoint")
    if request.param == "calibrated":
        return request.getfixturevalue("calibrated_model_folder"), settings
    if request.param == "several classes":
        return variant(tiny, tmp_path / "model", classes=("disc", "cup")), settings
    if request.param == "few steps":
        folder = variant(tiny, tmp_path / "model", distilled_steps=2)
        return folder, settings.model_copy(update={"solver": "euler"})
    return tiny, settings


def test_a_zoo_package_reproduces_the_maps_of_the_model(
    model: tuple[Path, SamplingConfig], blob_folders: Folders, tmp_path: Path
) -> None:
    folder, settings = model
    segmenter = Segmenter.load(folder, "cpu", "fp32")
    settings = segmenter.resolved(settings)
    write_package(tmp_path / "model.zip", segmenter, settings)
    assert problems(tmp_path / "model.zip") == ""
    with zipfile.ZipFile(tmp_path / "model.zip") as archive:
        archive.extractall(tmp_path / "unpacked")
    weights = session(tmp_path / "unpacked" / "weights.onnx")
    assert [item.name for item in weights.get_inputs()] == ["image"], "the noise is built in"

    # What the package brings for its test, and another image.
    image = blob(blob_folders)
    drawn = np.load(tmp_path / "unpacked" / "image.npy")[0].transpose(1, 2, 0)
    for case in (image, ImageInput(drawn)):
        summary = segmenter.summarise(segmenter.sample(case, settings), settings)
        names = [item.name for item in weights.get_outputs()]
        values = weights.run(None, {"image": as_input(case)})
        maps = dict(zip(names, values, strict=True))
        several = summary.mean_probability.ndim == 3
        mean = maps["mean_probability"][0] if several else maps["mean_probability"][0, 0]
        np.testing.assert_allclose(mean, summary.mean_probability, atol=5 * TOLERANCE)
        confidence = maps["confidence"][0, 0]
        np.testing.assert_allclose(confidence, summary.confidence, atol=5 * TOLERANCE)
        assert np.mean(maps["mean_mask"][0, 0] != summary.mean_mask) < 1e-3
        assert np.mean(maps["samples"][0] != summary.sample_masks) < 1e-3
    for name in names:
        stored = np.load(tmp_path / "unpacked" / f"{name}.npy")
        assert np.mean(np.abs(maps[name].astype(float) - stored) > 5 * TOLERANCE) < 5e-3


def test_a_bundled_promptable_model_becomes_a_package(tmp_path: Path) -> None:
    segmenter = Segmenter.load("isic2018", "cpu", "fp32")
    settings = segmenter.resolved(SamplingConfig(n_samples=2, steps=2, refine=False))
    write_package(tmp_path / "model.zip", segmenter, settings)
    assert problems(tmp_path / "model.zip") == ""
    with zipfile.ZipFile(tmp_path / "model.zip") as archive:
        archive.extractall(tmp_path)
    image = np.load(tmp_path / "image.npy")
    weights = session(tmp_path / "weights.onnx")
    names = [item.name for item in weights.get_outputs()]
    drawn = ImageInput(image[0].transpose(1, 2, 0))
    maps = dict(zip(names, weights.run(None, {"image": as_input(drawn)}), strict=True))
    summary = segmenter.summarise(segmenter.sample(drawn, settings), settings)
    assert summary.calibrated
    np.testing.assert_allclose(maps["confidence"][0, 0], summary.confidence, atol=1e-2)
    assert np.mean(maps["mean_mask"][0, 0] != summary.mean_mask) < 1e-3


def test_the_software_of_the_zoo_runs_a_package(
    calibrated_model_folder: Path,
    blob_folders: Folders,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    core = pytest.importorskip("bioimageio.core", reason="not part of the test extra: see there")
    out = tmp_path / "model.zip"
    words = ["--model", calibrated_model_folder, "--format", "bioimageio", "--out", out]
    picture = blob_folders[0] / "blob_000.png"
    words += ["--author", "An Author", "--licence", "CC0-1.0", "--test-image", picture]
    assert export(*words) == 0
    with closing_files():
        summary = core.test_model(bioimageio.spec.load_description(out))
        status, output = summary.status, str(summary)
        del summary
    assert status == "passed", output


def test_the_metadata_of_the_user_are_in_the_package(
    tiny_model_folder: Path, blob_folders: Folders, tmp_path: Path
) -> None:
    out, picture = tmp_path / "model.zip", blob_folders[0] / "blob_001.png"
    words = ["--model", tiny_model_folder, "--format", "bioimageio", "--out", out]
    words += ["--author", "Ada", "--author", "Grace", "--licence", "CC-BY-4.0"]
    assert export(*words, "--test-image", picture, "--samples", 2) == 0
    with zipfile.ZipFile(out) as archive:
        kinds = {Path(name).suffix for name in archive.namelist()}
        assert kinds == {".md", ".npy", ".onnx", ".yaml"}
        text = archive.read("rdf.yaml").decode()
        archive.extractall(tmp_path / "unpacked")
    for word in ("Ada", "Grace", "CC-BY-4.0", read_card(tiny_model_folder).weights_sha256):
        assert word in text
    assert str(tmp_path) not in text, "no path of this machine"
    kept = np.load(tmp_path / "unpacked" / "image.npy")[0].transpose(1, 2, 0)
    np.testing.assert_array_equal(kept, imread(picture))


def test_models_that_cannot_be_exported_are_refused(
    tiny_model_folder: Path, tmp_path: Path, refused: Printed
) -> None:
    folder, archive = tmp_path / "parts", tmp_path / "model.zip"
    deep = tmp_path / "deep.png"
    imsave(deep, np.arange(64 * 64, dtype=np.uint16).reshape(64, 64), check_contrast=False)
    onnx = ["--model", tiny_model_folder, "--format", "onnx", "--out"]
    zoo = ["--model", tiny_model_folder, "--format", "bioimageio", "--out"]
    for words, reason in (
        ([*onnx, folder, "--licence", "MIT"], "belong to --format bioimageio"),
        ([*zoo, folder], "must end in .zip"),
        ([*zoo, archive, "--licence", "my own"], "rejects the description of the model: license"),
        ([*zoo, archive, "--test-image", deep], "must be 8-bit"),
        ([*zoo, archive, "--confidence", "calibrated"], "has no calibration"),
    ):
        assert reason in refused(export, *words)
    assert not folder.exists()
    assert not archive.exists()
    # Nothing to find: uniform except for one pixel.
    flat = np.full((64, 64, 3), 220, np.uint8)
    flat[0, 0] = 0
    imsave(deep, flat, check_contrast=False)
    assert "finds nothing in the test image" in refused(export, *zoo, archive, "--test-image", deep)
    archive.write_bytes(b"mine")
    assert "already exists" in refused(export, *zoo, archive)
    assert archive.read_bytes() == b"mine"
    folder.mkdir()
    assert "already exists" in refused(export, *onnx, folder)
    for _ in range(2):
        assert export(*onnx, folder, "--overwrite") == 0
        assert (folder / "sampling.json").is_file()
    (folder / "notes.txt").write_text("mine")
    assert "all of it would be lost: notes.txt" in refused(export, *onnx, folder, "--overwrite")
    assert (folder / "notes.txt").read_text() == "mine"
    assert "is a file, but a folder" in refused(export, *onnx, archive, "--overwrite")
    assert "is not a BioImage.IO package" in refused(export, *zoo, archive, "--overwrite")
    assert archive.read_bytes() == b"mine"
    archive.unlink()
    archive.mkdir()
    assert "is a folder, but a .zip" in refused(export, *zoo, archive, "--overwrite")


@pytest.mark.parametrize(("form", "name"), [("onnx", "parts"), ("bioimageio", "model.zip")])
def test_an_export_to_a_link_replaces_what_it_leads_to(
    tiny_model_folder: Path, tmp_path: Path, refused: Printed, form: str, name: str
) -> None:
    (tmp_path / "disk").mkdir()
    link, there = tmp_path / name, tmp_path / "disk" / name
    link.symlink_to(there)
    words = ["--model", tiny_model_folder, "--format", form, "--out"]
    assert "is a link to" in refused(export, *words, link)
    assert export(*words, there) == 0
    before = there.stat()
    assert export(*words, link, "--overwrite") == 0
    assert link.is_symlink()
    assert there.stat().st_mtime_ns > before.st_mtime_ns


@pytest.mark.parametrize(
    ("package", "form"), [("onnx", "onnx"), ("onnx", "bioimageio"), ("bioimageio", "bioimageio")]
)
def test_a_missing_package_is_reported(
    tiny_model_folder: Path,
    tmp_path: Path,
    refused: Printed,
    monkeypatch: pytest.MonkeyPatch,
    package: str,
    form: str,
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    out = tmp_path / "out.zip"
    output = refused(export, "--model", tiny_model_folder, "--format", form, "--out", out)
    assert EXTRA in output
    assert package in output
    assert list(tmp_path.iterdir()) == []
