"""AUROC of the domain score for images unlike the training images.

    python -m benchmarks.out_of_domain --config configs/cvc_clinicdb.toml --model cvc_clinicdb \
        --other busi=../shared/data/busi/images wounds=../shared/data/fuseg_wound/images ...

In domain are the test images of the configuration's sets. Out of domain are the images of the other
folders, noise, mosaics (16 test images side by side on one canvas), test images whose 64 tiles are
shuffled, and photographs of other things that come with scikit-image. The table has the AUROC with
the middle 95 % of a bootstrap over the images of both sides, and the share that is flagged.

``--accepted 5`` adds the first five images of each other folder to the domain, as the adaptation to
accepted images does, and prints the share of the remaining ones that is flagged.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.stats import rankdata
from skimage import data as pictures

from latentfm_core.config import load_config
from latentfm_core.datasets.layouts import training_pairs
from latentfm_core.datasets.object_set import find_sets
from latentfm_core.datasets.splits import make_split
from latentfm_core.evaluation.domain import drawn
from latentfm_core.images.canvas import to_canvas
from latentfm_core.images.read import read_image, to_rgb
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.types import Float32, ImageInput
from latentfm_core.uncertainty.domain import TrainingDomain

Scores = NDArray[np.float64]

SEED, DRAWS, SIDE = 2018, 2000, 256
PHOTOGRAPHS = (
    "astronaut", "brick", "camera", "chelsea", "clock", "coffee", "coins", "grass", "gravel",
    "hubble_deep_field", "logo", "moon", "page", "rocket", "text",
)  # fmt: skip
SUFFIXES = {".jpg", ".png", ".tif"}

logger = logging.getLogger("benchmarks.out_of_domain")


def test_images(config: Path, most: int) -> list[Path]:
    """Return test images of the sets of a configuration, about equally many of each."""
    data = load_config(config).data
    if not data.sets:
        pairs = {pair.name: pair for pair in training_pairs(data)}
        tested = make_split(pairs, data).test
        return [pairs[name].image for name in drawn(tested, most)]
    found: list[Path] = []
    sets = find_sets(data)
    for one in sets:
        names = drawn(one.split.test, most // len(sets))
        found += [one.pairs[name].image for name in names]
    return found


def auroc(inside: Scores, outside: Scores) -> float:
    """Return the chance that an image out of domain has the higher score."""
    ranks = rankdata(np.concatenate([inside, outside]))[len(inside) :]
    wins = ranks.sum() - len(outside) * (len(outside) + 1) / 2
    return float(wins / (len(inside) * len(outside)))


def interval(inside: Scores, outside: Scores) -> tuple[float, float]:
    """Return the middle 95 % of the AUROC over draws of images with replacement."""
    rng = np.random.default_rng(SEED)
    found = [
        auroc(rng.choice(inside, len(inside)), rng.choice(outside, len(outside)))
        for _ in range(DRAWS)
    ]
    low, high = np.quantile(found, (0.025, 0.975))
    return float(low), float(high)


def noise(count: int) -> Iterator[Float32]:
    """Yield white, grey, faint and smooth noise in turn."""
    rng = np.random.default_rng(SEED)
    shape = (SIDE, SIDE, 3)
    for index in range(count):
        if index % 4 == 0:
            values = rng.random(shape)
        elif index % 4 == 1:
            values = np.repeat(rng.random((SIDE, SIDE, 1)), 3, axis=2)
        elif index % 4 == 2:
            values = rng.normal(0.5, 0.1, shape)
        else:
            field = gaussian_filter(rng.normal(size=shape), (6, 6, 0))
            values = 0.5 + 0.2 * field / field.std()
        yield np.clip(values, 0, 1).astype(np.float32)


def tiles(rgb: Float32, count: int) -> list[Float32]:
    """Return the ``count**2`` square tiles of an image that is stretched to a square."""
    side = SIDE // count
    square, _ = to_canvas(rgb, SIDE, "stretch")
    return [
        square[r * side : (r + 1) * side, c * side : (c + 1) * side]
        for r in range(count)
        for c in range(count)
    ]


def joined(parts: Sequence[Float32]) -> Float32:
    """Return square tiles side by side, in rows."""
    count = round(len(parts) ** 0.5)
    rows = [np.concatenate(parts[r * count : (r + 1) * count], axis=1) for r in range(count)]
    return np.ascontiguousarray(np.concatenate(rows))


def mosaics(images: Sequence[Float32], count: int) -> Iterator[Float32]:
    """Yield 4 x 4 images side by side."""
    rng = np.random.default_rng(SEED)
    for _ in range(count):
        chosen = rng.choice(len(images), 16)
        yield joined([to_canvas(images[index], SIDE // 4, "stretch")[0] for index in chosen])


def shuffled(images: Sequence[Float32], count: int) -> Iterator[Float32]:
    """Yield images whose 8 x 8 tiles are in a random order."""
    rng = np.random.default_rng(SEED)
    for rgb in images[:count]:
        parts = tiles(rgb, 8)
        yield joined([parts[index] for index in rng.permutation(len(parts))])


def photographs() -> Iterator[Float32]:
    """Yield photographs of other things."""
    for name in PHOTOGRAPHS:
        pixels = getattr(pictures, name)()
        yield to_rgb(ImageInput(pixels[..., :3] if pixels.ndim == 3 else pixels))


def folder_images(folder: Path, most: int) -> Iterator[Float32]:
    """Yield images of a folder, drawn with a fixed seed."""
    files = sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES)
    for path in drawn(files, most):
        yield to_rgb(read_image(path))


def flagged_after(domain: TrainingDomain, features: Float32, accepted: int) -> float:
    """Return the share of features ``(N, D)`` flagged once the first few are a training set."""
    domain = domain.with_set(features[:accepted])
    return float(np.mean([domain.score(feature) > 1 for feature in features[accepted:]]))


def main() -> int:
    """Print a row for each kind of images."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--config", type=Path, required=True, help="settings of its training")
    parser.add_argument("--other", nargs="*", default=[], metavar="NAME=FOLDER")
    parser.add_argument("--most", type=int, default=120, help="images of each kind (default: 120)")
    parser.add_argument("--accepted", type=int, nargs="*", default=[], metavar="COUNT")
    args = parser.parse_args()
    segmenter = Segmenter.load(args.model, "cpu", "fp32")
    own = [to_rgb(read_image(path)) for path in test_images(args.config, args.most)]
    if segmenter.domain_score(ImageInput(own[0])) is None:
        parser.error(f"{args.model} has no out-of-domain score; fit one with latentfm-calibrate")
    count = args.most // 3

    def scores(images: Iterator[Float32] | Sequence[Float32]) -> Scores:
        return np.array([segmenter.domain_score(ImageInput(rgb)) for rgb in images], np.float64)

    kinds: dict[str, Callable[[], Iterator[Float32]]] = {}
    for text in args.other:
        name, folder = text.split("=", 1)
        kinds[name] = lambda folder=folder: folder_images(Path(folder), args.most)  # type: ignore[misc]
    kinds |= {
        "noise": lambda: noise(count),
        "mosaics": lambda: mosaics(own, count),
        "shuffled tiles": lambda: shuffled(own, count),
        "photographs": photographs,
    }
    inside = scores(own)
    logger.info("| %s | images | AUROC | flagged |\n| --- | --- | --- | --- |", args.model)
    logger.info("| own test images | %d | | %.1f %% |", len(inside), 100 * (inside > 1).mean())
    for name, make in kinds.items():
        found = scores(make())
        low, high = interval(inside, found)
        figures = auroc(inside, found), low, high, 100 * (found > 1).mean()
        logger.info("| %s | %d | %.3f [%.3f, %.3f] | %.1f %% |", name, len(found), *figures)
    if args.accepted:
        domain = segmenter.domain
        if domain is None:
            parser.error("--accepted needs a single model, not an ensemble")
        for text in args.other:
            name, folder = text.split("=", 1)
            images = folder_images(Path(folder), args.most)
            features = np.stack([segmenter.mean_features(rgb) for rgb in images])
            for count in args.accepted:
                share, others = flagged_after(domain, features, count), len(features) - count
                row = "| %s after %d accepted | %d | | %.1f %% |"
                logger.info(row, name, count, others, 100 * share)
    return 0


if __name__ == "__main__":
    sys.exit(main())
