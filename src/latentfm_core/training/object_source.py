"""Crops around objects, the training data of a promptable model."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from latentfm_core.datasets.object_set import MIN_OBJECT, ObjectSet, TrainingImage
from latentfm_core.inference.device import autocast
from latentfm_core.measures.size import label_pieces
from latentfm_core.training.step_timer import StepTimer

Index = NDArray[np.intp]

ONE_PIECE = 0.8
"""Share of the prompted multi-piece masks where the target is one piece."""

WHOLE_FIELD = 0.3
"""Share of the prompted images shown in full, as before a first click."""

ABSENT = 0.05
"""Share of the prompted images with a rough mask on background: the object has disappeared.

A mask followed through the planes of a stack has to end somewhere.
"""

PLACES = 10
"""Positions tried for this mask."""


@dataclass(frozen=True)
class Crop:
    """One training example on the canvas.

    Attributes
    ----------
    image
        ``(3, S, S)`` float32 in [0, 1].
    target
        ``(S, S)`` bool, the target object, by one rater.
    shown
        ``(S, S)`` bool, the object that the prompt is made from, by any rater.

    A target that is empty where `shown` is not is an object that has disappeared.
    """

    image: Tensor
    target: NDArray[np.bool_]
    shown: NDArray[np.bool_]
    prompted: bool


@dataclass(frozen=True)
class Crops:
    """A batch of `Crop`: images ``(B, 3, S, S)``, targets ``(B, 1, S, S)`` float, and the rest."""

    images: Tensor
    targets: Tensor
    shown: NDArray[np.bool_]
    prompted: NDArray[np.bool_]


@dataclass(frozen=True)
class ObjectSource:
    """Share of an `ObjectSet` that a process uses in one step.

    Attributes
    ----------
    seeds
        One for each of them, from which all random choices of its crop follow.
    """

    objects: ObjectSet
    index: Index
    seeds: tuple[int, ...]
    size: int
    timer: StepTimer
    device: torch.device
    dtype: torch.dtype

    def crops(self) -> Crops:
        """Return the crops of the batch."""
        share = self.objects.unprompted
        with self.timer.part("data"):
            drawn = [
                draw_crop(self.objects.images[i], self.size, np.random.default_rng(seed), share)
                for i, seed in zip(self.index, self.seeds, strict=True)
            ]
            targets = torch.from_numpy(np.stack([crop.target for crop in drawn]))
            return Crops(
                torch.stack([crop.image for crop in drawn]).to(self.device),
                targets[:, None].float().to(self.device),
                np.stack([crop.shown for crop in drawn]),
                np.array([crop.prompted for crop in drawn]),
            )

    def images(self) -> Tensor:
        """Return the images ``(B, 3, size, size)`` float32 in [0, 1]."""
        return self.crops().images

    def masks(self) -> Tensor:
        """Return the masks ``(B, 1, size, size)`` float32 in {0, 1}."""
        share = self.objects.unprompted
        with self.timer.part("data"):
            drawn = [
                draw_mask(self.objects.images[i], self.size, np.random.default_rng(seed), share)
                for i, seed in zip(self.index, self.seeds, strict=True)
            ]
            return torch.from_numpy(np.stack(drawn))[:, None].float().to(self.device)

    @contextmanager
    def network(self) -> Iterator[None]:
        """Run networks without gradients inside the block."""
        with self.timer.part("network"), torch.no_grad(), autocast(self.device, self.dtype):
            yield


def draw_mask(
    item: TrainingImage, size: int, rng: np.random.Generator, unprompted: float
) -> NDArray[np.bool_]:
    """Return the target ``(S, S)`` of the crop that `draw_crop` makes with the same `rng`."""
    target, _, _, theta = _chosen_field(item, rng, unprompted)
    found: NDArray[np.bool_] = _warp_masks(
        torch.from_numpy(target)[None, None].float(), theta, size
    )[0]
    return found


def draw_crop(item: TrainingImage, size: int, rng: np.random.Generator, unprompted: float) -> Crop:
    """Choose an object of an image and a field around it, and turn both into a canvas.

    Parameters
    ----------
    unprompted
        Chance of showing the whole image without a prompt.
    """
    target, shown, prompted, theta = _chosen_field(item, rng, unprompted)
    image = _warp_image(torch.from_numpy(item.rgb), theta, size)
    both = torch.from_numpy(np.stack([target, shown]))[None].float()
    maps = _warp_masks(both, theta, size)
    return Crop(image, maps[0], maps[1], prompted and bool(maps[1].sum() >= MIN_OBJECT))


def _chosen_field(
    item: TrainingImage, rng: np.random.Generator, unprompted: float
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], bool, NDArray[Any]]:
    """Return target and shown object ``(H, W)``, whether there is a prompt, and the field."""
    chosen = None if rng.random() < unprompted else _choose_object(item, rng)
    prompted = chosen is not None
    if chosen is None:
        target = item.masks[int(rng.integers(len(item.masks)))] > 0
        chosen = target, target
    elif rng.random() < ABSENT:
        gone = _background(item, rng)
        chosen = chosen if gone is None else (np.zeros_like(gone), gone)
    theta = _field(chosen[1], rng, full_field=not prompted or rng.random() < WHOLE_FIELD)
    return *chosen, prompted, theta


def _choose_object(
    item: TrainingImage, rng: np.random.Generator
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]] | None:
    """Return an object as drawn by one rater, and by the rater that the prompt is made from.

    None if no rater drew one that is large enough.
    """
    drawn = [mask for mask in item.masks if np.count_nonzero(mask) >= MIN_OBJECT]
    if not drawn:
        return None
    target, shown = (drawn[int(i)] for i in rng.integers(len(drawn), size=2))
    if item.kind == "instances":
        objects, sizes = np.unique(target[target > 0], return_counts=True)
        large = objects[sizes >= MIN_OBJECT]
        if not large.size:
            return None
        one = target == rng.choice(large)
        return one, one
    if len(item.masks) == 1 and rng.random() < ONE_PIECE:
        one = _one_piece(target > 0, rng)
        return one, one
    return target > 0, shown > 0


def _one_piece(mask: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.bool_]:
    pieces, count = label_pieces(mask)
    if count < 2:
        return mask
    sizes = np.bincount(pieces.ravel())[1:]
    large = np.flatnonzero(sizes >= max(MIN_OBJECT, sizes.max() // 20)) + 1
    return np.asarray(pieces == rng.choice(large)) if large.size else mask


def _background(item: TrainingImage, rng: np.random.Generator) -> NDArray[np.bool_] | None:
    """Return an ellipse ``(H, W)`` away from every object; None if there is not enough room."""
    height, width = item.masks[0].shape
    rows, columns = np.ogrid[:height, :width]
    for _ in range(PLACES):
        radii = rng.uniform(0.04, 0.2, 2) * min(height, width)
        centre = rng.uniform((0, 0), (height, width))
        distance = np.hypot((rows - centre[0]) / radii[0], (columns - centre[1]) / radii[1])
        # In a narrow image an ellipse may contain no pixel.
        if not (distance <= 1).any():
            continue
        # An object nearby is the same one, moved: following should find it.
        if not any((mask[distance <= 1.5] > 0).any() for mask in item.masks):
            return np.asarray(distance <= 1)
    return None


def _field(shown: NDArray[np.bool_], rng: np.random.Generator, *, full_field: bool) -> NDArray[Any]:
    """Return the affine map ``(2, 3)`` from the canvas to the image, in [-1, 1] coordinates."""
    height, width = shown.shape
    if full_field:
        side = max(height, width) * math.exp(rng.uniform(math.log(0.75), math.log(1.3)))
        centre = np.array([height, width]) / 2 + rng.uniform(-0.1, 0.1, 2) * side
    else:
        rows, columns = (np.flatnonzero(shown.any(axis=axis)) for axis in (1, 0))
        low = np.array([rows[0], columns[0]], float)
        high = np.array([rows[-1] + 1, columns[-1] + 1], float)
        # Around the half that a box gets when the model is used.
        side = max(24.0, float((high - low).max()) / rng.triangular(0.2, 0.5, 0.85))
        centre = (low + high) / 2 + rng.uniform(-0.12, 0.12, 2) * side
    turn = math.pi if rng.random() < 0.5 else 0.25
    angle = rng.uniform(-turn, turn)
    aspect = math.exp(rng.uniform(-0.12, 0.12))
    mirror = 1.0 if rng.random() < 0.5 else -1.0
    cos, sin = math.cos(angle), math.sin(angle)
    across, down = side / width, side / height
    return np.array(
        [
            [cos * mirror * aspect * across, -sin * across, 2 * centre[1] / width - 1],
            [sin * mirror * down, cos / aspect * down, 2 * centre[0] / height - 1],
        ],
        dtype=np.float32,
    )


def _warp_image(rgb: Tensor, theta: NDArray[Any], size: int) -> Tensor:
    """Return the field of ``(H, W, 3)`` uint8 as ``(3, S, S)`` float32 in [0, 1]."""
    image = rgb.permute(2, 0, 1)[None].float().div_(255)
    return _sample(_averaged(image, theta, size), theta, size, "border")


def _warp_masks(masks: Tensor, theta: NDArray[Any], size: int) -> NDArray[np.bool_]:
    """Return the field of ``(1, M, H, W)`` masks as ``(M, S, S)`` bool."""
    # Beyond the border edge pixels are repeated, as on a padded canvas; no object is there.
    cover = _sample(_averaged(masks, theta, size), theta, size, "zeros")
    found: NDArray[np.bool_] = (cover >= 0.5).numpy()
    return found


def _averaged(values: Tensor, theta: NDArray[Any], size: int) -> Tensor:
    """Halve ``(1, C, H, W)`` while many pixels of the field map to one of the canvas."""
    height, width = values.shape[-2:]
    pixels = math.sqrt(abs(float(np.linalg.det(theta[:, :2]))) * height * width) / size
    while pixels >= 1.5 and min(values.shape[-2:]) >= 4:
        values = F.avg_pool2d(values, 2, ceil_mode=True)
        pixels /= 2
    return values


def _sample(values: Tensor, theta: NDArray[Any], size: int, padding: str) -> Tensor:
    grid = F.affine_grid(torch.from_numpy(theta)[None], [1, 1, size, size], align_corners=False)
    sampled: Tensor = F.grid_sample(
        values, grid, mode="bilinear", padding_mode=padding, align_corners=False
    )[0]
    return sampled
