"""Valid files, written by the project itself, to be damaged."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import asdict
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from latentfm_core.adaptation.comparison import HeldOutTest
from latentfm_core.adaptation.record import AdaptationRecord, LearnedImage
from latentfm_core.annotation.autosave import AutosaveStore
from latentfm_core.annotation.export import export_annotation
from latentfm_core.annotation.provenance import AnnotationSidecar
from latentfm_core.config import Config, config_from_mapping
from latentfm_core.output.sidecar import Sidecar, now, versions
from latentfm_core.worklist.state import WorkList

Files = dict[str, bytes]
"""A case before the damage: relative paths and contents; the first is read."""

SIGNATURE = "0123456789abcdef" * 2
_TINY = {
    "data": {"size": 32},
    "model": {
        "vae_width": 8,
        "condition_widths": [8, 8, 8, 8],
        "condition_blocks": [1, 1, 1, 1],
        "velocity_widths": [8],
    },
}


def tiny() -> Config:
    """Return the settings of the smallest network."""
    return config_from_mapping(_TINY)


def _pixels(*shape: int, high: int = 256, dtype: Any = np.uint8) -> np.ndarray:
    return np.random.default_rng(0).integers(0, high, shape).astype(dtype)


def _saved(pixels: np.ndarray, form: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format=form, **options)
    return stream.getvalue()


def _tiff(pixels: np.ndarray, **options: Any) -> bytes:
    stream = io.BytesIO()
    tifffile.imwrite(stream, pixels, **options)
    return stream.getvalue()


def _lzw(pixels: np.ndarray) -> bytes:
    return _saved(pixels, "TIFF", compression="tiff_lzw")


@cache
def images() -> tuple[tuple[str, bytes], ...]:
    """Return pictures of every format and kind of TIFF, with their file extension."""
    grey, rgb = _pixels(24, 20), _pixels(24, 20, 3)
    exif = Image.Exif()
    exif[274], exif[315] = 6, "somebody"
    plain: list[tuple[str, bytes]] = [
        (".png", _saved(rgb, "PNG")),
        (".png", _saved(grey, "PNG")),
        (".png", _saved(grey > 128, "PNG")),
        (".png", _saved(_pixels(8, 8, high=60_000, dtype=np.uint16), "PNG")),
        (".jpg", _saved(rgb, "JPEG", exif=exif)),
        (".jpg", _saved(grey, "JPEG", progressive=True)),
        (".bmp", _saved(rgb, "BMP")),
        (".gif", _saved(grey, "GIF")),
        (".webp", _saved(rgb, "WEBP")),
        (".ppm", _saved(rgb, "PPM")),
        (".jp2", _saved(rgb, "JPEG2000")),
        (".tga", _saved(rgb, "TGA", compression="tga_rle")),
    ]
    palette = io.BytesIO()
    Image.fromarray(rgb).quantize(8).save(palette, format="PNG")
    plain.append((".png", palette.getvalue()))
    ome = {"axes": "YX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
    tiffs = (
        _tiff(rgb, photometric="rgb"),
        _tiff(grey, rowsperstrip=5),
        _tiff(_pixels(48, 40), tile=(16, 16), compression="zlib"),
        _tiff(rgb, photometric="rgb", planarconfig="contig", compression="zlib", predictor=True),
        _tiff(grey, compression="lzma"),
        _saved(grey, "TIFF", compression="packbits"),
        _tiff(grey, bigtiff=True, resolution=(300, 300)),
        _tiff(grey, ome=True, metadata=ome),
        _tiff(grey, imagej=True, resolution=(2, 2), metadata={"unit": "um"}),
        _tiff(_pixels(3, 24, 20), ome=True, metadata={"axes": "CYX"}),
        _tiff(grey.astype(np.float32), byteorder=">"),
        _tiff(grey > 100),
        _lzw(rgb),
        _saved(grey, "TIFF", compression="jpeg"),
        _saved(grey > 128, "TIFF", compression="group4"),
    )
    return (*plain, *((".tif", content) for content in tiffs))


@cache
def stacks() -> tuple[tuple[str, bytes], ...]:
    """Return TIFF stacks of every kind, with their file extension."""
    planes, ome = _pixels(3, 24, 20), {"PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
    pages = io.BytesIO()
    with tifffile.TiffWriter(pages) as writer:
        for plane in planes:
            writer.write(plane, metadata=None, contiguous=False)
    lzw = io.BytesIO()
    first, *others = [Image.fromarray(plane) for plane in planes]
    first.save(lzw, "TIFF", compression="tiff_lzw", save_all=True, append_images=others)
    contents = (
        _tiff(planes, ome=True, metadata={"axes": "ZYX", "PhysicalSizeZ": 2.0, **ome}),
        _tiff(planes, imagej=True, resolution=(2, 2), metadata={"axes": "TYX", "spacing": 2}),
        _tiff(_pixels(2, 3, 24, 20), ome=True, metadata={"axes": "TZYX"}, compression="zlib"),
        _tiff(_pixels(3, 24, 20, 3), photometric="rgb", metadata={"axes": "ZYXS"}),
        _tiff(_pixels(4, 48, 32), photometric="minisblack", tile=(16, 16), compression="lzma"),
        pages.getvalue(),
        lzw.getvalue(),
    )
    return tuple((".tif", content) for content in contents)


@cache
def channels() -> tuple[tuple[str, bytes], ...]:
    """Return TIFF stacks with named channels."""
    pixels, names = _pixels(2, 3, 24, 20), ["DAPI", "GFP", "TOM"]
    channel = {"Name": names, "Color": [65535, 16711935, -16776961]}
    contents = (
        _tiff(pixels, ome=True, metadata={"axes": "ZCYX", "Channel": channel}),
        _tiff(pixels, imagej=True, metadata={"axes": "ZCYX", "Labels": names * 2}),
    )
    return tuple((".tif", content) for content in contents)


@cache
def masks() -> tuple[tuple[str, bytes], ...]:
    """Return masks."""
    binary = (_pixels(24, 20) > 128).astype(np.uint8)
    return (
        (".png", _saved(binary, "PNG")),
        (".png", _saved(binary > 0, "PNG")),
        (".gif", _saved(binary, "GIF")),
        (".tif", _tiff(binary, compression="zlib")),
        (".tif", _tiff(binary > 0)),
        (".tif", _lzw(binary)),
        (".bmp", _saved(binary, "BMP")),
    )


def _facts(shape: tuple[int, ...], axes: str) -> AnnotationSidecar:
    spacing, units = (0.5,) * len(shape), ("micrometer",) * len(shape)
    return AnnotationSidecar(
        image="a.png", shape=shape, axes=axes, spacing=spacing, units=units, classes=("lesion",)
    )


def _tree(folder: Path) -> Files:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def _made(make: Callable[[Path], object]) -> Files:
    with TemporaryDirectory() as name:
        make(Path(name))
        return _tree(Path(name))


@cache
def annotated() -> tuple[Files, ...]:
    """Return annotations with their provenance."""

    def export(name: str, labels: NDArray[Any], facts: AnnotationSidecar, folder: Path) -> None:
        export_annotation(folder / name, labels, facts)

    found = []
    for name, shape, axes in (
        ("a.tif", (24, 20), "YX"), ("a.tif", (3, 24, 20), "ZYX"), ("a.png", (24, 20), "YX"),
        ("a.nii", (3, 24, 20), "ZYX"), ("a.nii.gz", (24, 20), "YX"),
    ):  # fmt: skip
        labels, facts = _pixels(*shape, high=4), _facts(shape, axes)
        made = _made(partial(export, name, labels, facts))
        found.append({name: made[name], f"{name}.json": made[f"{name}.json"]})
    return tuple(found)


@cache
def autosaves() -> Files:
    """Return the folder of one image with two states."""

    def make(folder: Path) -> None:
        store = AutosaveStore(folder)
        for _ in range(2):
            store.save(SIGNATURE, _pixels(24, 20, high=4), _facts((24, 20), "YX"))

    return _made(make)


MARKS = (
    b'{"schema_version": 1, "kind": "marks", "objects": [{"number": 1, "index": [null, null], '
    b'"box": [1, 2, 30, 40], "positive": [[3.5, 4.5]], "strokes": [[2, 0, 7]]}]}'
)
"""A file of marks."""


@cache
def worklist() -> Files:
    """Return a folder of images with a started work list."""

    def make(folder: Path) -> None:
        for name in ("a.png", "b.png"):
            (folder / name).write_bytes(_saved(_pixels(8, 8), "PNG"))
        work = WorkList(folder)
        work.update("a.png", state="completed", seconds=3.5, uncertainty=0.25, file="a.tif")
        work.update("b.png", state="flagged", note="blurred")
        export_annotation(work.annotation("a.png"), _pixels(8, 8, high=2), _facts((8, 8), "YX"))

    return _made(make)


def adaptation_record() -> bytes:
    """Return the record of an adapted model."""
    image = LearnedImage(name="a.png", file="a.tif", fingerprint=SIGNATURE, labels=SIGNATURE)
    test = HeldOutTest(image="b.png", learned=1, present=0.5, adapted=0.75)
    record = AdaptationRecord(
        parent="generalist",
        parent_sha256="0" * 64,
        images=(image,),
        tests=(test,),
        version=2,
        used=True,
    )
    return record.model_dump_json().encode()


@cache
def pyramids() -> tuple[Files, ...]:
    """Return Zarr images of several kinds, each in the folder ``a.zarr``."""
    import numcodecs
    import zarr
    from zarr.codecs import BloscCodec, GzipCodec

    def make(
        version: Literal[2, 3], shape: tuple[int, ...], codec: Any, sharded: bool, folder: Path
    ) -> None:
        group = zarr.open_group(str(folder / "a.zarr"), mode="w", zarr_format=version)
        scales = [{"datasets": [{"path": "0"}, {"path": "1"}]}]
        group.attrs["multiscales"] = scales
        for number in range(2):
            pixels = _pixels(*shape[:-2], shape[-2] >> number, shape[-1] >> number)
            lead = tuple(1 for _ in shape[:-2])
            group.create_array(
                str(number),
                data=pixels,
                chunks=(*lead, 16, 16),
                shards=(*lead, 32, 32) if sharded else None,
                compressors=codec,
            )

    kinds: tuple[tuple[Literal[2, 3], tuple[int, ...], Any, bool], ...] = (
        (2, (40, 32), "auto", False),
        (2, (3, 40, 32), "auto", False),
        (2, (40, 32), numcodecs.LZ4(), False),
        (2, (40, 32), numcodecs.Zlib(), False),
        (3, (40, 32), "auto", False),
        (3, (40, 32), BloscCodec(), True),
        (3, (40, 32), GzipCodec(), True),
    )
    return tuple(_made(partial(make, *kind)) for kind in kinds)


@cache
def model() -> Files:
    """Return a model folder of the smallest network, with random weights."""
    import torch

    from latentfm_core.model_io.folder import save_model
    from latentfm_core.models.latentfm import LatentFM

    config = tiny()
    torch.manual_seed(0)
    card = {"id": "tiny", "config": config.to_json(), "metrics": {"val_dice": 0.5}}
    return _made(lambda folder: save_model(folder, LatentFM(config.model), card))


@cache
def ensemble() -> Files:
    """Return the folder of an ensemble of two equal models, with its card."""
    from latentfm_core.model_io.card import read_card, write_card

    def make(folder: Path) -> None:
        for fold in ("fold_0", "fold_1"):
            (folder / fold).mkdir()
            for name, content in model().items():
                (folder / fold / name).write_bytes(content)
        write_card(folder, read_card(folder))

    return _made(make)


@cache
def model_with_domain() -> Files:
    """Return the folder of `model` with its training domain."""
    from latentfm_core.model_io.card import read_card
    from latentfm_core.model_io.domain import write_domain
    from latentfm_core.uncertainty.domain import TrainingDomain

    channels = 3 * 8  # strides 8, 16 and 32
    means, factor = np.zeros((1, channels), np.float32), np.eye(channels, dtype=np.float32)
    domain = TrainingDomain(means, factor, 1.0, tiny().data.size, 20, 20)

    def make(folder: Path) -> None:
        for name, content in model().items():
            (folder / name).write_bytes(content)
        write_domain(folder, domain, read_card(folder).weights_sha256)

    return _made(make)


@cache
def checkpoint() -> Files:
    """Return a checkpoint in the middle of the flow stage."""
    import torch

    from latentfm_core.datasets.splits import Split
    from latentfm_core.models.latentfm import LatentFM
    from latentfm_core.training.checkpoint import Position, save_checkpoint
    from latentfm_core.training.ema import EMA
    from latentfm_core.training.run_record import DataRecord, RunRecord

    config = tiny()
    torch.manual_seed(0)
    network = LatentFM(config.model)
    weights = network.flow_parameters()
    optimizer = torch.optim.AdamW(weights)
    torch.stack([p.sum() for p in weights]).sum().backward()
    optimizer.step()
    position = Position("flow", step=3, metrics={"val_dice": 0.5})
    ema = EMA(weights, 0.9)
    data = DataRecord(Split(("a", "b"), ("c",)), {"a": "00", "b": "01", "c": "02"}, ("d",))
    run = RunRecord(("latentfm-train --out a",), data, "ff")
    facts = config.to_json()
    return _made(lambda f: save_checkpoint(f, network, position, facts, optimizer, ema, run))


CONFIG = b"""\
preset = "default"

[data]
images = "images"
masks = "masks"
split_file = "split.json"
size = 64
mask_threshold = 127.5
[data.reading]
max_megapixels = 64

[model]
classes = ["lesion", "other"]
velocity_widths = [24, 32]
condition_widths = [16, 24, 32, 32]

[training]
seed = 3
kl_weight = 1e-4
[training.flow]
epochs = 4
learning_rate = 3e-3

[sampling]
n_samples = 4
"""
SPLIT = json.dumps({"train": ["a", "b", "c"], "val": ["d"], "test": ["e", "f"]}).encode()
RUN_CONFIG = json.dumps({"data": {"sets": [{"name": "a", "images": "/data/a"}]}}).encode()
SIGNATURES = json.dumps({"a": "0" * 32, "b": "1" * 32}).encode()
FOLDS = json.dumps({"format_version": 1, "folds": [["a", "b"], ["c"]], "test": ["d"]}).encode()
NNUNET = json.dumps({
    "channel_names": {"0": "R", "1": "G", "2": "B"}, "file_ending": ".png", "numTraining": 2,
    "labels": {"background": 0, "lesion": 1, "core": 2},
}).encode()  # fmt: skip
PROMPTS = (
    b'{"x": [{"box": [1, 2, 9, 8]}, {"positive": [[3, 4.5]], "negative": [[6, 7]]}]}',
    b'{"images": [{"id": 1, "file_name": "x.png", "width": 40, "height": 30}], "annotations": '
    b'[{"image_id": 1, "bbox": [1, 2, 9, 8], "keypoints": [3, 4, 2]}]}',
    b'{"shapes": [{"points": [[1, 2], [9, 8]], "shape_type": "rectangle"}, {"points": [[1, 2], '
    b'[9, 8], [4, 3]], "group_id": 1}, {"points": [[3, 4]], "shape_type": "point", "group_id": 1}'
    b'], "imagePath": "x.png", "imageHeight": 30, "imageWidth": 40}',
    b'[{"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [[[1, 1], [5, 1]]]}}]',
)
GROUPS = b"image,patient,other\na.png,1,x\nb,1,\nc,2,\nd,3,\ne,4,\nf,5,\n"


def result_sidecar() -> bytes:
    """Return the JSON file of a result."""
    files: dict[str, tuple[str, ...]] = {
        "mean_mask": ("a_mean_mask.tif",),
        "samples": ("a_samples.tif",),
    }
    found = Sidecar(
        image="a.png", shape=(24, 20), spacing=(0.5, 0.5), unit="micrometer", model_id="tiny",
        model_sha256="0" * 64, n_samples=2, seeds=(0, 1), steps=4, solver="euler", nfe=4,
        threshold=0.5, precision="float32", device="cpu", seconds=0.5, created=now(),
        versions=versions(), files=files, png_white={},
    )  # fmt: skip
    return found.model_dump_json(indent=2).encode()


def parent_facts() -> bytes:
    """Return the parent record of a fine-tuning run."""
    from latentfm_core.finetuning.finetune import ParentFacts

    return json.dumps(asdict(ParentFacts("tiny", "0" * 64, "Tiny", "none", (0.5, 0.6)))).encode()
