"""Pairing, splitting and loading of a data set."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from latentfm_core.config import DataConfig
from latentfm_core.datasets.in_memory import load_canvases
from latentfm_core.datasets.pair_reading import read_binary
from latentfm_core.datasets.pairs import Pair, find_pairs
from latentfm_core.datasets.splits import (
    Split,
    make_split,
    read_groups,
    read_split,
    write_split,
)
from latentfm_core.errors import DatasetError, ImageError, OutputError
from latentfm_core.once import by_cause
from tests.helpers.fixtures import Folders


def write(path: Path, shape: tuple[int, ...] = (24, 36, 3), seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def write_mask(path: Path, shape: tuple[int, int] = (24, 36), top: int = 6) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = np.zeros(shape, np.uint8)
    mask[top : shape[0] // 2, : shape[1] // 2] = 255
    Image.fromarray(mask).save(path)
    return path


def make_dataset(root: Path, names: list[str], suffix: str = "") -> Folders:
    for number, name in enumerate(names):
        write(root / "images" / f"{name}.png", seed=number)
        write_mask(root / "masks" / f"{name}{suffix}.png", top=number % 6)
    return root / "images", root / "masks"


# --- pairs ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "suffix", ["", "_segmentation", "_mask", "_seg", "_label", "_Segmentation"]
)
def test_pairs_by_name_and_usual_suffixes(tmp_path, suffix):
    images, masks = make_dataset(tmp_path, ["b_2", "a", "c.x"], suffix)
    pairs = find_pairs(images, masks)
    assert [pair.name for pair in pairs] == ["a", "b_2", "c.x"]
    for pair in pairs:
        assert pair.image == images / f"{pair.name}.png"
        assert pair.masks == (masks / f"{pair.name}{suffix}.png",)


def test_image_names_that_end_like_mask_names(tmp_path):
    images, masks = make_dataset(tmp_path, ["cell_mask", "cell"])
    assert [pair.name for pair in find_pairs(images, masks)] == ["cell", "cell_mask"]


def test_one_folder_without_masks_names_both_options(tmp_path):
    write(tmp_path / "a.png")
    write(tmp_path / "b.png")
    with pytest.raises(DatasetError, match=r"\(--images.*\(--masks.*one folder.*_segmentation"):
        find_pairs(tmp_path, tmp_path / ".")


def test_images_and_masks_in_one_folder(tmp_path):
    write(tmp_path / "a.png")
    write_mask(tmp_path / "a_mask.png")
    assert find_pairs(tmp_path, tmp_path) == [
        Pair("a", tmp_path / "a.png", (tmp_path / "a_mask.png",))
    ]
    write(tmp_path / "b.png")
    with pytest.raises(DatasetError, match=r"1 image has no mask: b\.png"):
        find_pairs(tmp_path, tmp_path)


def test_unpaired_files_are_named_and_counted(tmp_path):
    images, masks = make_dataset(tmp_path, ["a", "b"])
    for number in range(13):
        write(images / f"extra{number:02}.png")
    write_mask(masks / "other.png")
    with pytest.raises(DatasetError) as error:
        find_pairs(images, masks)
    message = str(error.value)
    assert "13 images have no mask" in message
    assert "extra00.png" in message
    assert "extra09.png and 3 more" in message
    assert "extra10.png" not in message
    assert "1 mask has no image: other.png" in message


@pytest.mark.parametrize("one_folder", [False, True])
@pytest.mark.parametrize("skip", [False, True])
def test_numbered_parts_of_a_mask_are_refused(tmp_path, one_folder, skip):
    """BUSI has a further file for each further lesion of an image."""
    images = tmp_path / "images"
    masks = images if one_folder else tmp_path / "masks"
    for number in (1, 2, 3):
        write(images / f"benign ({number}).png")
        write_mask(masks / f"benign ({number})_mask.png")
    assert len(find_pairs(images, masks, skip)) == 3
    write_mask(masks / "benign (2)_mask_1.png")
    with pytest.raises(DatasetError) as error:
        find_pairs(images, masks, skip)
    assert "benign (2)_mask.png / benign (2)_mask_1.png. Only one file" in str(error.value)
    assert "skip_unmasked" not in str(error.value)
    write_mask(masks / "benign (2)_mask_2.png")
    (masks / "benign (2)_mask.png").unlink()
    with pytest.raises(DatasetError, match=r"benign \(2\)_mask_1.png / benign \(2\)_mask_2.png"):
        find_pairs(images, masks, skip)


def test_images_with_numbers_are_not_parts(tmp_path):
    images, masks = make_dataset(tmp_path, ["p", "p_1", "p_1_2", "p_1_3"])
    assert len(find_pairs(images, masks)) == 4
    (masks / "p_1_2.png").unlink()
    assert len(find_pairs(images, masks, skip_unmasked=True)) == 3


@pytest.mark.parametrize(
    ("named", "hint"),
    [
        ("mask_{}.png", "names are 0.png and mask_0.png: this mask would have to be 0.png or 0_m"),
        ("{:03d}.png", "The closest names are 0.png and 000.png: this mask would have to be 0.png"),
        ("other.png", "one of _segmentation"),
    ],
)
def test_unmatched_names_get_the_closest_ones(tmp_path, named, hint):
    for number in range(3):
        write(tmp_path / "i" / f"{number}.png")
        write_mask(tmp_path / "m" / named.format(number))
    with pytest.raises(DatasetError) as error:
        find_pairs(tmp_path / "i", tmp_path / "m")
    assert hint in str(error.value)
    assert ("closest" in str(error.value)) == ("closest" in hint or "names are" in hint)


def test_names_of_nnunet_lead_to_its_option(tmp_path):
    for case in ("case_1", "case_2"):
        write(tmp_path / "imagesTr" / f"{case}_0000.png")
        write_mask(tmp_path / "labelsTr" / f"{case}.png")
    with pytest.raises(DatasetError, match=r"named as by nnU-Net: .*--data FOLDER"):
        find_pairs(tmp_path / "imagesTr", tmp_path / "labelsTr")


def test_two_files_with_the_same_name(tmp_path):
    images, masks = make_dataset(tmp_path, ["a"])
    write(images / "a.jpg")
    with pytest.raises(DatasetError, match=r"1 pair of images shares a name.*a\.jpg / a\.png"):
        find_pairs(images, masks)
    (images / "a.jpg").unlink()
    write_mask(masks / "a_seg.png")
    with pytest.raises(DatasetError, match=r"1 pair of masks shares a name.*a\.png / a_seg\.png"):
        find_pairs(images, masks)


def test_empty_and_missing_folders(tmp_path):
    images, masks = make_dataset(tmp_path, ["a"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="empty has no images"):
        find_pairs(tmp_path / "empty", masks)
    with pytest.raises(DatasetError, match="gone is not a folder"):
        find_pairs(images, tmp_path / "gone")


# --- random splits ------------------------------------------------------------------------------


NAMES = [f"n{number:03}" for number in range(100)]


def test_fractions_give_parts_of_that_size_that_cover_all_images():
    split = make_split(NAMES, DataConfig(val_fraction=0.1, test_fraction=0.2))
    assert (len(split.train), len(split.val), len(split.test)) == (70, 10, 20)
    assert sorted(split.train + split.val + split.test) == NAMES


def test_split_depends_on_the_seed_and_not_on_the_order():
    config = DataConfig(split_seed=3)
    split = make_split(NAMES, config)
    assert make_split(reversed(NAMES), config) == split
    assert make_split(NAMES, DataConfig(split_seed=4)) != split


def test_every_part_with_a_share_has_images():
    split = make_split(["a", "b", "c"], DataConfig(val_fraction=0.01, test_fraction=0.01))
    assert (len(split.train), len(split.val), len(split.test)) == (1, 1, 1)
    assert make_split(["a"], DataConfig(val_fraction=0, test_fraction=0)) == Split(("a",))
    with pytest.raises(DatasetError, match="too few"):
        make_split(["a", "b"], DataConfig())


def group_csv(path: Path, rows: list[tuple[str, str]], header: str = "image,patient") -> Path:
    path.write_text("\n".join([header, *(",".join(row) for row in rows)]) + "\n", "utf-8")
    return path


@pytest.mark.parametrize("seed", range(5))
def test_groups_stay_together(tmp_path, seed):
    group = {name: str(number**2 // 700) for number, name in enumerate(NAMES)}
    config = DataConfig(
        group_file=group_csv(tmp_path / "g.csv", list(group.items())),
        group_column="patient",
        split_seed=seed,
        val_fraction=0.2,
        test_fraction=0.2,
    )
    split = make_split(NAMES, config)
    parts = [{group[name] for name in part} for part in (split.train, split.val, split.test)]
    assert sum(map(len, parts)) == len(set(group.values()))
    assert sorted(split.train + split.val + split.test) == NAMES
    assert len(split.train) > len(split.val) > 0
    assert len(split.test) > 0
    assert make_split(reversed(NAMES), config) == split


def test_a_group_file_with_file_names_extra_rows_and_a_byte_order_mark(tmp_path):
    path = tmp_path / "g.csv"
    rows = "\ufeffpatient,image\np,a.png\np,b.png\nq,c.png\nr,d\ns,unknown\n"
    path.write_text(rows, "utf-8")
    config = DataConfig(group_file=path, group_column="patient")
    split = make_split(["a", "b", "c", "d"], config)
    assert {"a", "b"} <= set(split.train)


@pytest.mark.parametrize(
    ("rows", "header", "reason"),
    [
        ([("a", "p"), ("b", "q")], "image,patient", "2 images: c, d"),
        ([("a", "p"), ("b", "q"), ("c", ""), ("d", "r")], "image,patient", "1 image: c"),
        ([("a", "p"), ("a", "q")], "image,patient", "assigns a to two groups"),
        ([("a", "p")], "image,person", "no column 'patient'.*image, person"),
        ([("a", "p")], "name,patient", "no column 'image'"),
        ([(name, "p") for name in "abcd"], "image,patient", "too few"),
    ],
)
def test_bad_group_files(tmp_path, rows, header, reason):
    path = group_csv(tmp_path / "g.csv", rows, header)
    with pytest.raises(DatasetError, match=reason):
        make_split("abcd", DataConfig(group_file=path, group_column="patient"))


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_empty_lines_at_the_start_of_a_group_file(tmp_path, separator):
    path = tmp_path / "g.csv"
    path.write_text(f"\n\r\nimage{separator}patient\n\na{separator}p\n")
    assert read_groups(path, "patient", ["a"]) == {"a": "p"}


@pytest.mark.parametrize("separator", [";", "\t", ", ", " ; "])
def test_group_files_from_spreadsheets(tmp_path, separator):
    rows = [("image", "patient"), ("a.png", "p"), ("b", "p "), ("c", " q")]
    path = tmp_path / "groups.csv"
    path.write_text("\r\n".join(separator.join(row) for row in rows))
    assert read_groups(path, "patient", ["a", "b", "c"]) == {"a": "p", "b": "p", "c": "q"}


def test_names_with_dots_are_matched_exactly(tmp_path):
    rows = [("scan.1", "p"), ("scan.1.png", "p"), ("scan.PNG", "q"), ("a.b.nii.gz", "r")]
    path = group_csv(tmp_path / "g.csv", [*rows, ("scan.2.dat", "s")])
    groups = read_groups(path, "patient", ["scan", "scan.1", "a.b"])
    assert groups == {"scan": "q", "scan.1": "p", "a.b": "r"}
    for missing in ("scan.2", "a", "a.b.nii"):
        with pytest.raises(DatasetError, match=f"no patient for 1 image: {missing}"):
            read_groups(path, "patient", ["scan", missing])


def test_group_files_may_contain_folders_and_microscope_files(tmp_path):
    rows = [("images/a.1.png", "p"), ("C:\\data\\b.PNG", "q"), ("plates/c.czi", "r")]
    path = group_csv(tmp_path / "g.csv", rows)
    groups = read_groups(path, "patient", ["a.1", "b", "c"])
    assert groups == {"a.1": "p", "b": "q", "c": "r"}
    twice = group_csv(tmp_path / "t.csv", [("one/a.png", "p"), ("two/a.png", "q")])
    with pytest.raises(DatasetError, match="a"):
        read_groups(twice, "patient", ["a"])


def test_split_files_take_file_names_as_group_files_do(tmp_path):
    path = tmp_path / "split.json"
    path.write_text('{"train": ["images/a.1.png", "b"], "val": ["C:\\\\data\\\\c.PNG"]}')
    split = make_split(["a.1", "b", "c"], DataConfig(split_file=path))
    assert split == Split(("a.1", "b"), ("c",))
    path.write_text('{"train": ["one/a.png", "two/a.png"]}')
    with pytest.raises(DatasetError, match="names 1 image twice: a"):
        make_split(["a"], DataConfig(split_file=path))


def test_a_group_file_in_another_encoding_is_refused(tmp_path):
    path = tmp_path / "g.csv"
    path.write_bytes("image;patient\na;Müller\n".encode("latin-1"))
    with pytest.raises(DatasetError, match=r"line 2 is not in UTF-8.*choose CSV UTF-8"):
        read_groups(path, "patient", ["a"])


def test_a_column_or_key_that_occurs_twice_is_refused(tmp_path):
    groups, split = tmp_path / "groups.csv", tmp_path / "split.json"
    groups.write_text("image,patient,patient\na,p,q\n")
    with pytest.raises(DatasetError, match="two columns 'patient'"):
        read_groups(groups, "patient", ["a"])
    split.write_text('{"train": ["a"], "train": ["b"]}')
    with pytest.raises(DatasetError, match="'train' occurs twice"):
        read_split(split)


@pytest.mark.parametrize("inside", [True, False])
def test_images_in_subfolders_are_reported_but_masks_are_not(tmp_path, inside, caplog):
    images = tmp_path / "images"
    masks = images / "masks" if inside else tmp_path / "masks"
    more = (images if inside else masks) / "more"
    write(images / "a.png")
    write_mask(masks / "a.png")
    write_mask(more / "a.png")
    with caplog.at_level("INFO"):
        assert len(find_pairs(images, masks)) == 1
    said = [one.getMessage() for one in caplog.records if "in subfolders" in one.getMessage()]
    assert said == [f"{more.parent}: images in subfolders are ignored: more"]


def test_groups_that_differ_in_case_or_spaces_are_named_once(tmp_path, caplog):
    rows = [("a", "P1"), ("b", "p1 "), ("c", "P 1"), ("d", "q"), ("e", "Q2")]
    path = group_csv(tmp_path / "g.csv", rows)
    config = DataConfig(group_file=path, group_column="patient", val_fraction=0.4, test_fraction=0)
    for _ in range(2):
        make_split("abcde", config)
    (said,) = (record.getMessage() for record in caplog.records)
    assert "count as different ones: 'P 1' / 'P1' / 'p1'. If they are the same patient" in said
    assert "q" not in said.partition("ones:")[2].replace("Q", "")


@pytest.mark.parametrize(
    ("groups", "alike"),
    [
        (("1", "001", "1.0"), "'001' / '1' / '1.0'"),
        (("P 07", "p7", "P70"), "'P 07' / 'p7'"),
        (("0", "000.", "00"), "'0' / '00' / '000.'"),
        (("1.05", "1.5", "10", "100", "1", "1.10", "1.1"), ""),
    ],
)
def test_groups_whose_numbers_are_written_differently_are_reported(tmp_path, caplog, groups, alike):
    names = "abcdefg"[: len(groups)]
    path = group_csv(tmp_path / "g.csv", list(zip(names, groups, strict=True)))
    read_groups(path, "patient", names)
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == bool(alike)
    assert not alike or f"count as different ones: {alike}. If" in said[0]


def test_images_that_a_split_file_leaves_out_are_named_once(tmp_path, caplog):
    path = tmp_path / "split.json"
    path.write_text(json.dumps({"train": ["a"], "val": ["b"]}))
    for _ in range(2):
        make_split("abcd", DataConfig(split_file=path))
    (said,) = (record.getMessage() for record in caplog.records)
    assert "does not name 2 of 4 images, which are not used: c, d" in said


def test_groups_are_compared_in_normalised_unicode(tmp_path, caplog):
    path = group_csv(tmp_path / "g.csv", [("a", "Jos\u00e9"), ("b", "Jose\u0301")])
    groups = read_groups(path, "patient", ["a", "b"])
    assert groups["a"] == groups["b"]
    assert not caplog.records


def test_a_split_file_that_divides_groups_is_refused(tmp_path):
    groups = group_csv(tmp_path / "g.csv", [("a", "p"), ("b", "p"), ("c", "q"), ("d", "r")])
    path = tmp_path / "split.json"
    config = DataConfig(group_file=groups, group_column="patient", split_file=path)
    path.write_text(json.dumps({"train": ["a", "c"], "val": ["b"], "test": ["d"]}))
    with pytest.raises(DatasetError, match=r"divides 1 group .* a \(train\), b \(val\)"):
        make_split("abcd", config)
    folds = config.model_copy(update={"folds": 2})
    assert make_split("abcd", folds).test == ("d",), "folds do not use the other parts"
    path.write_text(json.dumps({"train": ["a", "c"], "val": ["d"], "test": ["b"]}))
    with pytest.raises(DatasetError, match=r"a \(train or val\), b \(test\)"):
        make_split("abcd", folds)
    path.write_text(json.dumps({"train": ["a", "b"], "val": ["c"], "test": ["d"]}))
    assert make_split("abcd", config).train == ("a", "b")


def test_a_group_file_whose_entries_are_shifted_is_refused(tmp_path):
    path = tmp_path / "g.csv"
    path.write_text("image,patient\nb,p,,\n")
    assert read_groups(path, "patient", ["b"]) == {"b": "p"}, "empty columns of a spreadsheet"
    path.write_text("image,note,patient\na,left, upper,p\nb,,p\n")
    with pytest.raises(DatasetError, match="line 2 has 4 entries for 3 columns"):
        read_groups(path, "patient", ["b"])


def test_missing_group_file(tmp_path):
    with pytest.raises(DatasetError, match=r"none\.csv"):
        make_split("abcd", DataConfig(group_file=tmp_path / "none.csv", group_column="patient"))


# --- split files ----------------------------------------------------------------------------------


def test_split_file_round_trip(tmp_path):
    split = Split(("a", "d"), ("b",), ("c",))
    path = tmp_path / "new" / "split.json"
    write_split(path, split)
    assert read_split(path) == split
    assert make_split("abcde", DataConfig(split_file=path)) == split
    assert json.loads(path.read_text()) == {"train": ["a", "d"], "val": ["b"], "test": ["c"]}


def test_a_failed_write_leaves_the_old_file(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError):
        write_split(tmp_path / "file" / "split.json", Split(("a",)))
    assert (tmp_path / "file").read_text() == "x"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("image,part", "it is not JSON. It must be {"),
        ('{"train": ["a",\n b]}', "it is not JSON from line 2 on: b]}. It must be {"),
        (" ", "it is empty. It must be {"),
        ('[{"train": ["a"], "val": ["b"]}]', "a list of 1 folds, as splits_final.json of nnU-Net"),
        ("[]", "is malformed"),
        ("{}", "is malformed"),
        ('{"train": ["a"], "validation": ["b"]}', "validation (did you mean val?)"),
        ('{"Train": ["a"], "tets": ["b"]}', "Train (did you mean train?), tets (did you mean test"),
        ('{"train": ["a"], "holdout": ["b"]}', "unknown lists: holdout. It must be"),
        ('{"train": "a"}', "not a list of names"),
        ('{"train": [1, 2]}', "not a list of names"),
        ('{"train": ["a", "b"], "test": ["b"]}', "1 image twice: b"),
        ('{"train": ["a", "a"]}', "1 image twice: a"),
        ('{"train": ["a", "x", "y"]}', "2 images that do not exist: x, y"),
        ('{"val": ["a"]}', "training part is empty"),
    ],
)
def test_bad_split_files(tmp_path, content, reason):
    path = tmp_path / "split.json"
    path.write_text(content)
    with pytest.raises(DatasetError, match=re.escape(reason)):
        make_split("abc", DataConfig(split_file=path))


def test_missing_split_file(tmp_path):
    with pytest.raises(DatasetError, match=r"gone\.json: No such file"):
        read_split(tmp_path / "gone.json")


def test_restricted_split():
    split = Split(("a", "b"), ("c",), ("d",))
    assert split.restricted(["a", "d", "z"]) == Split(("a",), (), ("d",))


# --- loading -------------------------------------------------------------------------------------


def test_loading_keeps_order_values_and_reports_progress(tmp_path):
    names = [f"p{number}" for number in range(9)]
    pairs = find_pairs(*make_dataset(tmp_path, names))[::-1]
    seen: list[tuple[int, int]] = []
    loaded = load_canvases(
        pairs, DataConfig(fit="stretch", size=32), on_progress=lambda *done: seen.append(done)
    )
    assert loaded.names == tuple(names[::-1])
    assert loaded.images.shape == (9, 32, 32, 3)
    assert loaded.images.dtype == loaded.masks.dtype == np.uint8
    assert set(np.unique(loaded.masks)) == {0, 1}
    assert loaded.skipped == {}
    assert seen == [(number + 1, 9) for number in range(9)]
    # Each row is the canvas of its own pair.
    alone = load_canvases([pairs[4]], DataConfig(fit="stretch", size=32))
    np.testing.assert_array_equal(alone.images[0], loaded.images[4])
    np.testing.assert_array_equal(alone.masks[0], loaded.masks[4])
    assert not np.array_equal(loaded.images[4], loaded.images[5])


def test_loading_at_the_image_size_is_exact(tmp_path):
    write(tmp_path / "images" / "a.png", (64, 64, 3))
    write_mask(tmp_path / "masks" / "a.png", (64, 64))
    loaded = load_canvases(find_pairs(tmp_path / "images", tmp_path / "masks"), DataConfig(size=64))
    with Image.open(tmp_path / "images" / "a.png") as image:
        np.testing.assert_array_equal(loaded.images[0], np.asarray(image))
    with Image.open(tmp_path / "masks" / "a.png") as mask:
        np.testing.assert_array_equal(loaded.masks[0, 0], np.asarray(mask) // 255)


def damaged_dataset(root: Path) -> list[Pair]:
    images, masks = make_dataset(root, ["good1", "cut", "flat", "size", "grey", "good2"])
    (images / "cut.png").write_bytes((images / "cut.png").read_bytes()[:900])
    Image.new("RGB", (36, 24), "red").save(images / "flat.png")
    write_mask(masks / "size.png", (36, 24))
    write(masks / "grey.png", (24, 36))
    return find_pairs(images, masks)


def test_every_bad_file_is_listed(tmp_path):
    pairs = damaged_dataset(tmp_path)
    with pytest.raises(DatasetError) as error:
        load_canvases(pairs, DataConfig(size=32))
    message = str(error.value)
    assert "4 of 6" in message
    assert "--skip-bad" in message
    for name in ("images/cut.png", "images/flat.png", "masks/size.png", "masks/grey.png"):
        assert str(tmp_path / name) in message
    assert "good" not in message.replace(str(tmp_path), "")


def test_a_problem_with_many_files_is_explained_once(tmp_path):
    images, masks = make_dataset(tmp_path, ["a", "b", "c", "d", "e", "cut"])
    for name in "abcde":
        labels = np.zeros((24, 36), np.uint8)
        labels[5:9, 5:9], labels[12:16, 12:16] = 1, 2
        Image.fromarray(labels).save(masks / f"{name}.png")
    (images / "cut.png").write_bytes((images / "cut.png").read_bytes()[:900])
    with pytest.raises(DatasetError) as error:
        load_canvases(find_pairs(images, masks), DataConfig(size=32))
    lines = str(error.value).splitlines()
    assert len(lines) == 4
    assert f"5 files in {masks} (a.png, b.png, c.png and 2 more): the mask is not" in lines[1]
    assert "set model.classes=NAME,NAME" in lines[1]
    assert str(images / "cut.png") in lines[2]


def test_bad_files_of_several_raters_are_named_in_their_own_folders():
    problems = [f"masks/{rater}/{name}.png: bad" for rater in ("anna", "ben") for name in "abcd"]
    lines = by_cause(problems[:6])
    assert lines[0] == "4 files in masks/anna (a.png, b.png, c.png and 1 more): bad"
    assert lines[1:] == problems[4:6]


def test_reasons_that_differ_in_numbers_are_one_cause(tmp_path):
    images, masks = make_dataset(tmp_path, ["a", "b", "c", "d", "e"])
    for number, path in enumerate(sorted(masks.iterdir())):
        write_mask(path, (12 + number, 18))
    with pytest.raises(DatasetError) as error:
        load_canvases(find_pairs(images, masks), DataConfig(size=32))
    first, said, last = str(error.value).splitlines()
    assert (first, last) == ("5 of 5 pairs cannot be used:", "No pair is left.")
    assert "(a.png, b.png, c.png and 2 more), for example: the mask has 12 x 18 pixels" in said


def test_skip_bad_continues_and_logs(tmp_path, caplog):
    pairs = damaged_dataset(tmp_path)
    loaded = load_canvases(pairs, DataConfig(skip_bad=True, size=32))
    assert loaded.names == ("good1", "good2")
    assert loaded.images.shape == (2, 32, 32, 3)
    assert sorted(loaded.skipped) == ["cut", "flat", "grey", "size"]
    assert "cut.png" in caplog.text
    good = [pair for pair in pairs if pair.name == "good2"]
    np.testing.assert_array_equal(
        loaded.images[1], load_canvases(good, DataConfig(size=32)).images[0]
    )


def test_no_readable_image_is_an_error_even_with_skip_bad(tmp_path):
    bad = [pair for pair in damaged_dataset(tmp_path) if not pair.name.startswith("good")]
    with pytest.raises(DatasetError, match="No usable pair of image and mask is left"):
        load_canvases(bad, DataConfig(skip_bad=True, size=32))


def test_mask_threshold_reaches_the_masks(tmp_path):
    images, masks = make_dataset(tmp_path, ["a"])
    write(masks / "a.png", (24, 36))
    loaded = load_canvases(find_pairs(images, masks), DataConfig(mask_threshold=128, size=32))
    assert 0 < loaded.masks.mean() < 1


def test_different_sizes_are_reported(tmp_path):
    image = write(tmp_path / "a.png", (24, 36, 3))
    mask = write_mask(tmp_path / "m.png", (36, 24))
    with pytest.raises(ImageError, match=r"m\.png: the mask has 36 x 24.*its image has 24 x 36"):
        read_binary(Pair("a", image, (mask,)))
