"""File names: Unicode forms, byte order marks, extensions, and files of the package itself."""

from __future__ import annotations

import json
import logging
import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from latentfm_core.annotation.export import export_annotation
from latentfm_core.annotation.provenance import AnnotationSidecar
from latentfm_core.annotation.reading import read_annotation
from latentfm_core.cli.train import main as train
from latentfm_core.config import DataConfig, load_config
from latentfm_core.datasets.layouts import read_layout
from latentfm_core.datasets.pairs import find_pairs
from latentfm_core.datasets.splits import Split, make_split, read_groups, read_split, write_split
from latentfm_core.errors import DatasetError
from latentfm_core.model_io.card import read_card
from latentfm_core.output.paths import output_names
from latentfm_core.worklist.state import WorkList
from tests.core.datasets.test_data_summary import blobs, trained
from tests.helpers.annotations import info, labels_of
from tests.helpers.commands import Printed
from tests.helpers.fixtures import copy_model

NAMES = ["Läsion Zoë 1", "åßç", "한글", "नमस्ते é"]
MARKED = ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"]


def form(kind: str, name: str) -> str:
    return unicodedata.normalize(kind, name)


def picture(path: Path, mask: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.zeros((12, 12), np.uint8)
    values[3:9, 3:9] = 255
    Image.fromarray(values if mask else np.dstack([values // 2 + 40] * 3)).save(path)


@pytest.mark.parametrize("kinds", [("NFD", "NFC"), ("NFC", "NFD"), ("NFD", "NFD")])
@pytest.mark.parametrize("layout", ["plain", "suffix", "raters", "one folder", "nnU-Net"])
def test_unicode_forms_of_a_name_are_equal(
    tmp_path: Path, kinds: tuple[str, str], layout: str
) -> None:
    for name in NAMES:
        image, mask = (form(kind, name) for kind in kinds)
        if layout == "nnU-Net":
            picture(tmp_path / "imagesTr" / f"{image}_0000.PNG")
            picture(tmp_path / "labelsTr" / f"{mask}.png", mask=True)
        elif layout == "raters":
            picture(tmp_path / "i" / f"{image}.png")
            picture(tmp_path / "m" / "anna" / f"{mask}.png", mask=True)
            picture(tmp_path / "m" / "ben" / f"{image}_seg.png", mask=True)
        else:
            folder = "i" if layout == "one folder" else "m"
            end = "" if layout == "plain" else "_mask"
            picture(tmp_path / "i" / f"{image}.png")
            picture(tmp_path / folder / f"{mask}{end}.png", mask=True)
    if layout == "nnU-Net":
        description = {
            "labels": {"background": 0, "a": 1},
            "file_ending": ".png",
            "channel_names": {"0": "R"},
        }
        (tmp_path / "dataset.json").write_text(json.dumps(description))
        pairs = read_layout(tmp_path).pairs("train")
    else:
        pairs = find_pairs(tmp_path / "i", tmp_path / ("i" if layout == "one folder" else "m"))
    assert [pair.name for pair in pairs] == sorted(form("NFC", name) for name in NAMES)

    table = "image,patient\n" + "".join(f"{form(kinds[1], name)}.png,1\n" for name in NAMES)
    (tmp_path / "g.csv").write_text(table, encoding="utf-8")
    groups = read_groups(tmp_path / "g.csv", "patient", [form(kinds[0], n) for n in NAMES])
    assert len(groups) == len(NAMES)
    write_split(tmp_path / "s.json", Split(train=tuple(form(kinds[1], name) for name in NAMES)))
    split = make_split([pair.name for pair in pairs], DataConfig(split_file=tmp_path / "s.json"))
    assert set(split.train) == {pair.name for pair in pairs}


def test_results_of_two_forms_of_a_name_do_not_collide(tmp_path: Path) -> None:
    images = [tmp_path / f"{form('NFC', 'é')}.png", tmp_path / f"{form('NFD', 'é')}.jpg"]
    one, other = output_names(images)
    assert form("NFC", one) != form("NFC", other)


def marked(text: str, encoding: str) -> bytes:
    mark = "\ufeff" if encoding.endswith("e") else ""
    return (mark + text).encode(encoding)


@pytest.mark.parametrize("encoding", MARKED)
def test_a_byte_order_mark_is_ignored(
    tmp_path: Path, tiny_model_folder: Path, encoding: str
) -> None:
    (tmp_path / "s.json").write_bytes(marked('{"val": ["ä"]}', encoding))
    assert read_split(tmp_path / "s.json").val == ("ä",)
    (tmp_path / "g.csv").write_bytes(marked("image,p\r\nä,1\r\n", encoding))
    assert read_groups(tmp_path / "g.csv", "p", ["ä"]) == {"ä": "1"}
    (tmp_path / "r.toml").write_bytes(marked('preset = "paper"\n[data]\nsize = 64\n', encoding))
    assert load_config(tmp_path / "r.toml").data.size == 64

    model = copy_model(tiny_model_folder, tmp_path / "model")
    card = (model / "model.json").read_text("utf-8")
    (model / "model.json").write_bytes(marked(card, encoding))
    assert read_card(model) == read_card(tiny_model_folder)

    labels = np.eye(5, dtype=np.uint8)
    sidecar = AnnotationSidecar(image="a.png", shape=(5, 5), axes="YX")
    path, beside = export_annotation(tmp_path / "a.tif", labels, sidecar)
    beside.write_bytes(marked(beside.read_text("utf-8"), encoding))
    assert read_annotation(path)[1] is not None

    picture(tmp_path / "i" / "a.png")
    work = WorkList(tmp_path / "i")
    work.update("a.png", state="completed")
    work.file.write_bytes(marked(work.file.read_text("utf-8"), encoding))
    again = WorkList(tmp_path / "i")
    assert (again.warning, again.item("a.png").state) == ("", "completed")


# --- our own working files --------------------------------------------------------------------


def unfinished(folder: Path, names: list[str]) -> None:
    (folder / "in_progress").mkdir(parents=True)
    for name in names:
        tifffile.imwrite(folder / "in_progress" / f"{name}.tif", np.eye(12, dtype=np.uint8))


@pytest.mark.parametrize("beside", ["nothing", "done", "raters"])
def test_unfinished_annotations_are_not_a_rater(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, beside: str
) -> None:
    for name in "abc":
        picture(tmp_path / "i" / f"{name}.png")
    masks = tmp_path / "i" / "latentfm_annotations" if beside == "nothing" else tmp_path / "m"
    unfinished(masks, ["a", "c"])
    (masks / "worklist.json").write_text("{}")
    if beside == "nothing":
        with pytest.raises(
            DatasetError, match=r"no finished annotation: 2 are unfinished.*a.tif, c"
        ):
            find_pairs(tmp_path / "i", masks)
        with pytest.raises(DatasetError, match="no finished annotation"):
            find_pairs(tmp_path / "i", masks, skip_unmasked=True)
        return
    for name in "abc":
        picture(masks / ("anna" if beside == "raters" else "") / f"{name}.png", mask=True)
    with caplog.at_level(logging.WARNING):
        pairs = find_pairs(tmp_path / "i", masks)
    assert [len(pair.masks) for pair in pairs] == [1, 1, 1]
    assert "skipped 2 unfinished annotations of a work list: a.tif, c.tif" in caplog.text


def test_annotations_of_images_that_are_no_longer_done_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in "abc":
        picture(tmp_path / "i" / f"{name}.png")
    work = WorkList(tmp_path / "i")
    for name in "abc":
        export_annotation(work.annotation(f"{name}.png"), labels_of(1), info())
        work.update(f"{name}.png", state="completed", file=f"{name}.tif", flag=True)
    with caplog.at_level(logging.WARNING):
        assert len(find_pairs(tmp_path / "i", work.output)) == 3
    assert "not done" not in caplog.text
    work.update("a.png", state="not started")
    work.update("c.png", state="in progress")
    with caplog.at_level(logging.WARNING):
        assert len(find_pairs(tmp_path / "i", work.output)) == 3
    assert "2 annotations are not done in the work list, or changed since" in caplog.text
    assert "used as last accepted: a.tif, c.tif." in caplog.text


def test_skipped_images_without_a_mask_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in "abc":
        picture(tmp_path / "i" / f"{name}.png")
    picture(tmp_path / "m" / "b.png", mask=True)
    assert len(find_pairs(tmp_path / "i", tmp_path / "m", skip_unmasked=True)) == 1
    assert "2 images without a mask are skipped: a.png, c.png" in caplog.text


# --- advice is followed -----------------------------------------------------------------------


def test_the_advice_for_a_damaged_checkpoint_works(tmp_path: Path, refused: Printed) -> None:
    data = blobs(tmp_path)
    assert trained(tmp_path, data) == 0
    checkpoint = tmp_path / "m" / "training" / "checkpoint.safetensors"
    checkpoint.write_bytes(checkpoint.read_bytes()[:99])
    out = ["--out", str(tmp_path / "m")]
    reported = refused(train, [*out, "--resume"])
    assert "Remove that file and start without --resume, or choose another --out." in reported
    shutil.move(checkpoint, tmp_path / "damaged")
    assert trained(tmp_path, data) == 0
