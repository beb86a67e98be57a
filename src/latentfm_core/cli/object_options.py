"""Command-line options that select objects of an image."""

from __future__ import annotations

import argparse
from typing import get_args

from latentfm_core.files.user_path import user_path
from latentfm_core.vocabulary import CORRECTIONS, MOST_OBJECTS, MaskKind, PromptKind


def add_prompt_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``--box`` and ``--prompts``."""
    group = parser.add_argument_group(
        "prompts", "The object to segment, for a model that takes prompts (such as generalist)."
    )
    either = group.add_mutually_exclusive_group()
    either.add_argument(
        "--box",
        type=_box,
        metavar="TOP,LEFT,BOTTOM,RIGHT",
        help="box around the object, in pixels; the same for every image",
    )
    either.add_argument(
        "--prompts",
        type=user_path,
        metavar="FILE",
        help="one or several objects for each image, in COCO annotations (JSON: bbox, keypoints), "
        "in LabelMe JSON of an image or a folder of it (rectangles, points, polygons), "
        'in a JSON list ({"scan1": [{"box": [top, left, bottom, right], "positive": [[row, '
        "column]]}]}), or in a label image or a folder of them, named as the images or "
        "scan1_mask (numbered rough outlines). "
        "Results are named NAME_object1, NAME_object2, ...",
    )


def _box(text: str) -> tuple[float, float, float, float]:
    try:
        top, left, bottom, right = (float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text[:60]!r} is not a box; write TOP,LEFT,BOTTOM,RIGHT in pixels"
        ) from None
    return top, left, bottom, right


def add_prompt_kind(parser: argparse.ArgumentParser) -> None:
    """Add ``--prompt``, ``--corrections``, ``--mask-kind`` and ``--most-objects``."""
    parser.add_argument(
        "--prompt",
        choices=get_args(PromptKind),
        default="none",
        help="simulate an annotator who indicates the largest object of each image, or each "
        "numbered object: by its box, by a point at its centre, or by the box and then corrections "
        "at the centre of the largest error (default: none, the whole mask is compared)",
    )
    parser.add_argument(
        "--corrections",
        type=int,
        default=CORRECTIONS,
        metavar="COUNT",
        help=f"points after the box, with --prompt corrections (default: {CORRECTIONS})",
    )
    parser.add_argument(
        "--mask-kind",
        choices=get_args(MaskKind),
        help="instances: the masks contain objects numbered from 1. With --prompt each of them is "
        "indicated and compared on its own, without it all are foreground (default: as the model "
        "was trained on these images, otherwise masks)",
    )
    parser.add_argument(
        "--most-objects",
        type=_count,
        default=MOST_OBJECTS,
        metavar="COUNT",
        help="numbered objects to indicate in an image; of more, that many are chosen at random "
        f"by --seed (default: {MOST_OBJECTS})",
    )


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text[:60]!r} is not a whole number of at least 1")
    return int(text)
