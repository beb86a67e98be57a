"""Export and measure the accepted annotations of a work list."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from latentfm_core.annotation.coco import CocoFile
from latentfm_core.annotation.export import export_annotation, sidecar_path, write_labels_file
from latentfm_core.annotation.formats import PALETTE, SYMBOLS, Space
from latentfm_core.annotation.labelled import LabelledImage
from latentfm_core.annotation.labelme import write_labelme
from latentfm_core.annotation.naming import LabelNames
from latentfm_core.annotation.provenance import AnnotationSidecar
from latentfm_core.annotation.reading import check_no_provenance, read_annotation, read_sidecar
from latentfm_core.annotation.table import Row, measured_rows, write_table
from latentfm_core.config import READING, ReadingConfig
from latentfm_core.datasets.label_names import FILE_NAME as CLASSES
from latentfm_core.errors import ImageError, OutputError, ResourceError
from latentfm_core.images.read import read_image
from latentfm_core.images.units import MILLIMETERS
from latentfm_core.measures.objects import PixelSize
from latentfm_core.names import comparable, counted, name_some, shown
from latentfm_core.output.paths import output_names
from latentfm_core.worklist.classes import read_classes
from latentfm_core.worklist.item import Item
from latentfm_core.worklist.replaced import NAMED, is_replaced, of_replaced
from latentfm_core.worklist.state import WorkList

Format = Literal["tiff", "png", "palette", "nifti", "coco", "coco-polygons", "labelme", "csv"]
ENDINGS: dict[Format, str] = {
    "tiff": ".tif",
    "png": ".png",
    "palette": PALETTE,
    "nifti": ".nii.gz",
    "coco": ".json",
    "coco-polygons": ".json",
    "labelme": ".json",
    "csv": ".csv",
}
ONE_FILE: frozenset[Format] = frozenset({"coco", "coco-polygons", "csv"})
"""Formats that store all images in one file."""


@dataclass(frozen=True)
class Progress:
    """Progress of an export.

    Attributes
    ----------
    done, total
        Numbers of images.
    name
        The image that comes next; empty at the end.
    problems
        At the end: images that were left out, each with the reason.
    notes
        At the end: sentences about what else to check.
    """

    done: int
    total: int
    name: str = ""
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def accepted(work: WorkList) -> list[str]:
    """Return the names of the images that are done."""
    items = work.items()
    return [name for name in work.names if items[name].state == "completed"]


def changed_since(work: WorkList) -> str:
    """Return which images were changed since they were accepted, and are not exported, or ""."""
    items = work.items()
    in_progress = (name for name in work.names if items[name].state == "in progress")
    names = [name for name in in_progress if work.annotation(name).is_file()]
    if not names:
        return ""
    have = counted(len(names), "image has", "images have")
    them = "it" if len(names) == 1 else "them"
    return (
        f"{have} changes that are not accepted: {name_some(names, NAMED)}. Accept {them} again to "
        f"export {them}."
    )


def export_files(work: WorkList, target: Path, kind: Format) -> dict[str, Path]:
    """Return the file of each accepted image, which may be one for all; provenance not counted.

    Raises
    ------
    OutputError
        If no image is accepted, the format does not exist, or a file is an image of the list, one
        that the list keeps for itself, or the provenance of an annotation.
    """
    if kind not in get_args(Format):
        raise OutputError(f"{kind!r} is not a format; choose one of {', '.join(ENDINGS)}.")
    names = accepted(work)
    if not names:
        none = "No image in this list is accepted yet. Accept one, then export."
        raise OutputError(f"{none} {changed_since(work)}".strip())
    files = dict.fromkeys(names, target)
    if kind not in ONE_FILE:
        stems = output_names([work.path(name) for name in names])
        files = {
            name: target / f"{stem}{ENDINGS[kind]}" for name, stem in zip(names, stems, strict=True)
        }
    own_names = _own_names(work, files[names[0]].parent)
    for file in set(files.values()):
        check_no_provenance(file)
        if _same_case(file.name) in own_names:
            raise OutputError(
                f"{shown(file)} belongs to the work list itself and would be overwritten. Choose "
                "another folder or name."
            )
    return files


def _own_names(work: WorkList, folder: Path) -> set[str]:
    """Return the names of images, annotations and state of a list that lie in a folder."""
    reserved: set[str] = set()
    if folder.resolve() == work.folder.resolve():
        reserved |= set(work.names)
    if folder.resolve() == work.output.resolve():
        kept = (work.annotation(name).name for name in accepted(work))
        reserved |= {work.file.name, CLASSES, *kept}
    return {_same_case(name) for name in reserved}


def _same_case(name: str) -> str:
    """Return a name as case-insensitive file systems compare it."""
    return comparable(name).casefold()


def export_accepted(
    work: WorkList,
    target: Path,
    kind: Format,
    separate: bool = False,
    size: PixelSize | None = None,
    limits: ReadingConfig = READING,
) -> Iterator[Progress]:
    """Export all accepted annotations of a work list, image by image.

    An image whose annotation is missing or damaged is left out, and named at the end.

    A caller that stops asking for the next image cancels the export: a file of all images is
    then not written, and finished files of other formats are kept.

    Parameters
    ----------
    work
        The work list.
    target
        The file for `ONE_FILE` formats, else a folder.
    kind
        Name of the format.
    separate
        Whether each connected piece is a separate object (COCO, LabelMe, CSV).
    size
        Pixel size of images whose file does not specify it (COCO, LabelMe, CSV).
    limits
        For files that are read.

    Yields
    ------
    Progress
        Before each image, and at the end.

    Raises
    ------
    OutputError
        If nothing is accepted, no annotation can be read, or a file cannot be written.
    """
    files = export_files(work, target, kind)
    names = LabelNames()
    coco = CocoFile("polygons" if kind == "coco-polygons" else "rle", separate, names)
    rows: list[Row] = []
    problems: list[str] = []
    replaced: list[str] = []
    if kind in ("csv", "labelme"):
        yield from _collect_names(work, names, len(files), limits)
    for done, (name, file) in enumerate(files.items()):
        yield Progress(done, len(files), name)
        facts = _facts(work.item(name))
        try:
            labelled, sidecar, space = _read(work, name, size, limits)
        except (ImageError, OutputError, ResourceError) as error:
            problems.append(f"{name}: {error}")
            rows.append({"image": name, **facts, "state": "not readable", "note": str(error)})
            continue
        if is_replaced(work.path(name), sidecar, limits):
            replaced.append(name)
        if kind == "csv":
            rows += measured_rows(names.applied(labelled), facts, separate)
        elif kind in ONE_FILE:
            coco.add(labelled)
        elif kind == "labelme":
            write_labelme(file, names.applied(labelled), separate)
        else:
            _write_labels(file, labelled, sidecar, space)
    if len(problems) == len(files):
        raise OutputError(f"No annotation of this list can be read. {problems[0]}")
    if kind == "csv":
        write_table(target, sorted(rows + _other_rows(work), key=_name))
    elif kind in ONE_FILE:
        coco.write(target)
    notes = tuple(filter(None, (names.replaced(), of_replaced(replaced), changed_since(work))))
    yield Progress(len(files), len(files), problems=tuple(problems), notes=notes)


def _collect_names(
    work: WorkList, names: LabelNames, total: int, limits: ReadingConfig
) -> Iterator[Progress]:
    """Add the names of all accepted images, which are needed before the first one is written."""
    for name in accepted(work):
        yield Progress(0, total, name)
        try:
            labelled, _, _ = _read(work, name, None, limits)
        except (ImageError, OutputError, ResourceError):
            continue  # reported when it is exported
        names.add(labelled)


def _write_labels(
    file: Path, labelled: LabelledImage, sidecar: AnnotationSidecar | None, space: Space
) -> None:
    if sidecar is not None:
        export_annotation(file, labelled.labels, sidecar)
    else:
        write_labels_file(file, labelled.labels, space)
        beside = sidecar_path(file)
        if read_sidecar(beside) is not None:
            # One of an earlier export here does not describe these labels.
            beside.unlink(missing_ok=True)


def _read(
    work: WorkList, name: str, size: PixelSize | None, limits: ReadingConfig
) -> tuple[LabelledImage, AnnotationSidecar | None, Space]:
    file = work.annotation(name)
    labels, sidecar = read_annotation(file, limits)
    if sidecar is not None:
        space = Space(sidecar.axes, sidecar.spacing, sidecar.units)
        classes = sidecar.classes
        names = {} if classes else {each.value: each.name for each in sidecar.labels}
    else:
        image = read_image(file, limits)
        units = (image.unit, image.unit) if image.unit in MILLIMETERS else ()
        space, names, classes = Space("YX", image.spacing if units else None, units), {}, ()
    if sidecar is not None:
        names |= sidecar.class_names
    names |= read_classes(work.output)
    known = space.pixel_size() or size
    if sidecar is not None and space.pixel_size() is None and size is not None:
        unit = next(full for full, symbol in SYMBOLS.items() if symbol == size.unit)
        pixel_size = {"spacing": size.spacing, "units": (unit, unit)}
        sidecar = sidecar.model_copy(update=pixel_size) if len(sidecar.axes) == 2 else sidecar
    colours = () if sidecar is None else sidecar.class_colours
    labelled = LabelledImage(name, labels, names, known, work.path(name), colours, classes)
    return labelled, sidecar, space


def _facts(item: Item) -> Row:
    return {
        "state": "done (empty)" if item.empty else "done",
        "flag": "yes" if item.flagged else "",
        "note": "; ".join(filter(None, (item.note, item.error))),
        "seconds": f"{item.seconds:.1f}" if item.seconds else "",
    }


def _name(row: Row) -> str:
    return row["image"]


def _other_rows(work: WorkList) -> list[Row]:
    """Return rows without sizes for images that are not accepted, so that a table has them all."""
    return [
        {"image": name, **_facts(item), "state": item.state}
        for name, item in work.items().items()
        if item.state != "completed"
    ]
