"""Paint the dermoscopy-like picture that ships as sample data.

    python scripts/make_sample_image.py

It uses no photograph: skin, lesion, hairs and glare come from seeded noise and
geometry, so that the result can be published (CC0). One side of the lesion fades out
without an edge, where experts would disagree, as the sample is meant to show.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import make_interp_spline
from scipy.ndimage import gaussian_filter
from skimage.io import imsave

Array = NDArray[np.float64]

HEIGHT, WIDTH = 450, 600
SEED = 20
CENTRE = (225.0, 290.0)
RADIUS = 98.0
TARGET = (
    Path(__file__).resolve().parent.parent
    / "src" / "napari_latentfm" / "samples" / "dermoscopy_demo.png"
)  # fmt: skip

SKIN = np.array([0.80, 0.64, 0.60])
PALE_BROWN = np.array([0.66, 0.45, 0.30])
DARK_BROWN = np.array([0.30, 0.16, 0.10])
HAIR = np.array([0.16, 0.11, 0.09])

logger = logging.getLogger("make_sample_image")


def noise(rng: np.random.Generator, sigma: float) -> Array:
    """Return smooth noise of the picture's shape with mean 0 and standard deviation 1."""
    field = gaussian_filter(rng.standard_normal((HEIGHT, WIDTH)), sigma, mode="reflect")
    return np.asarray((field - field.mean()) / field.std())


def blend(picture: Array, colour: Array, weight: Array) -> Array:
    """Blend `colour` over the picture with a weight map in [0, 1]."""
    return picture + (colour - picture) * np.clip(weight, 0, 1)[..., None]


def skin(rng: np.random.Generator) -> Array:
    """Return skin: mottled tone, fine furrows in two directions, a few flushed spots."""
    picture = np.broadcast_to(SKIN, (HEIGHT, WIDTH, 3)).copy()
    picture += 0.018 * noise(rng, 45)[..., None] + 0.010 * noise(rng, 9)[..., None]
    picture[..., 1:] -= 0.012 * np.clip(noise(rng, 22), 0, None)[..., None]
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    for angle in (0.5, 2.1):
        along = columns * np.cos(angle) + rows * np.sin(angle) + 5 * noise(rng, 18)
        furrows = np.clip(np.sin(along / 2.6), 0.55, 1) - 0.55
        picture -= 0.045 * (furrows * np.clip(0.5 + 0.5 * noise(rng, 14), 0, 1))[..., None]
    return picture


def signed_depth(rng: np.random.Generator) -> tuple[Array, Array]:
    """Return depth inside an uneven outline, in pixels (negative outside), and the angle."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    dy, dx = rows - CENTRE[0], (columns - CENTRE[1]) / 1.22
    angle = np.arctan2(dy, dx)
    outline = np.full_like(angle, RADIUS)
    for order, size in ((2, 0.10), (3, 0.07), (5, 0.045), (8, 0.025), (13, 0.015)):
        outline += RADIUS * size * np.sin(order * angle + rng.uniform(0, 2 * np.pi))
    return outline + 4 * noise(rng, 6) - np.hypot(dy, dx), angle


def lesion(picture: Array, rng: np.random.Generator) -> Array:
    """Paint the lesion: pigment with a sharp edge on the left and a fading one on the right."""
    depth, angle = signed_depth(rng)
    # How gradually the pigment ends: 4 pixels on the left, some 60 towards the lower right.
    fading = np.clip(0.5 + 0.5 * np.cos(angle - 0.5), 0, 1) ** 2
    width = 4 + 62 * fading
    body = 1 / (1 + np.exp(-(depth - 0.30 * width) / (0.38 * width)))
    halo = np.exp(-np.clip(-depth, 0, None) / 26) * fading * 0.35
    pigment = np.maximum(body, halo * np.clip(0.7 + 0.4 * noise(rng, 12), 0, 1))
    picture = blend(picture, PALE_BROWN, 0.92 * pigment)
    patches = np.clip(0.5 + 0.32 * noise(rng, 17) + 0.2 * noise(rng, 6), 0, 1)
    picture = blend(picture, DARK_BROWN, 0.62 * body**1.5 * patches * (1 - 0.6 * fading))
    picture = blend(picture, DARK_BROWN, 0.42 * network(rng) * body)
    return blend(picture, DARK_BROWN, globules(rng) * body**2)


def network(rng: np.random.Generator) -> Array:
    """Return a pigment network: the dark web between pale meshes."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH].astype(float)
    rows += 3.5 * noise(rng, 7)
    columns += 3.5 * noise(rng, 7)
    waves = [np.cos((columns * np.cos(a) + rows * np.sin(a)) / 1.75) for a in (0.2, 1.25, 2.3)]
    web = np.clip(0.35 - np.sum(waves, axis=0) / 3, 0, 1)
    return np.asarray(web * np.clip(0.6 + 0.5 * noise(rng, 20), 0, 1))


def globules(rng: np.random.Generator) -> Array:
    """Return small dark dots in clusters."""
    dots = np.zeros((HEIGHT, WIDTH))
    for _ in range(9):
        middle = rng.normal(CENTRE, RADIUS * 0.42)
        for row, column in rng.normal(middle, 11, (int(rng.integers(4, 12)), 2)):
            if 3 < row < HEIGHT - 4 and 3 < column < WIDTH - 4:
                dots[int(row), int(column)] += rng.uniform(25, 60)
    return np.clip(gaussian_filter(dots, 2.1), 0, 0.5)


def hairs(picture: Array, rng: np.random.Generator, count: int = 17) -> Array:
    """Paint curved hairs with a soft shadow next to each."""
    weight = np.zeros((HEIGHT, WIDTH))
    for _ in range(count):
        start = rng.uniform((-20, -20), (HEIGHT + 20, WIDTH + 20))
        heading = rng.normal(0.9, 0.45)
        steps = np.cumsum(rng.normal(0, 0.32, 4)) + heading
        length = rng.uniform(35, 95)
        points = np.vstack(
            [
                start,
                start
                + np.cumsum(length * np.stack([np.sin(steps), np.cos(steps)], axis=1), axis=0),
            ]
        )
        path = make_interp_spline(np.arange(5), points, k=3)(np.linspace(0, 4, 1600))
        tapered = rng.uniform(0.5, 1.0) * np.linspace(1, 0.35, len(path))
        inside = (path > 1).all(1) & (path[:, 0] < HEIGHT - 2) & (path[:, 1] < WIDTH - 2)
        line = np.zeros((HEIGHT, WIDTH))
        rows, columns = path[inside].round().astype(int).T
        np.maximum.at(line, (rows, columns), tapered[inside])
        weight = np.maximum(weight, line)
    body = np.clip(2.4 * gaussian_filter(weight, 0.75), 0, 0.92)
    shadow = np.roll(gaussian_filter(weight, 2.4), (3, 3), (0, 1))
    return blend(blend(picture, 0.55 * SKIN, 0.5 * shadow), HAIR, body)


def optics(picture: Array, rng: np.random.Generator) -> Array:
    """Add what the instrument does: gel bubbles, glare, vignette, blur and sensor noise."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    for row, column, radius in ((72, 452, 15), (350, 118, 9), (96, 486, 6)):
        distance = np.hypot(rows - row, columns - column)
        rim = np.exp(-(((distance - radius) / 1.5) ** 2))
        picture = blend(picture, np.ones(3), 0.35 * rim)
        spot = np.hypot(rows - row + 0.4 * radius, columns - column + 0.4 * radius)
        picture = blend(picture, np.ones(3), 0.8 * np.exp(-((spot / (0.22 * radius)) ** 2)))
    across = np.hypot((rows - HEIGHT / 2) / HEIGHT, (columns - WIDTH / 2) / WIDTH)
    light = 0.95 - 0.55 * across**2
    picture = gaussian_filter(picture * light[..., None], (1.8, 1.8, 0))
    grain = gaussian_filter(rng.standard_normal(picture.shape), (0.6, 0.6, 0))
    return np.asarray(picture + 0.007 * grain)


def paint(seed: int = SEED) -> NDArray[np.uint8]:
    """Return the picture, ``(450, 600, 3)`` uint8."""
    rng = np.random.default_rng(seed)
    picture = optics(hairs(lesion(skin(rng), rng), rng), rng)
    return np.asarray(np.rint(np.clip(picture, 0, 1) * 255), dtype=np.uint8)


def main() -> None:
    """Write the picture."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=TARGET)
    parser.add_argument("--seed", type=int, default=SEED)
    args = parser.parse_args()
    args.out.parent.mkdir(parents=True, exist_ok=True)
    imsave(args.out, paint(args.seed), check_contrast=False)
    logger.info("wrote %s", args.out)


if __name__ == "__main__":
    main()
