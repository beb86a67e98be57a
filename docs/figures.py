r"""Draw the pictures of the method page, of followed objects, and the reliability diagrams.

From the project's root, with the extra ``docs``:

    python docs/figures.py method --image ../shared/data/isic2018/images/ISIC_0000000.jpg
    python docs/figures.py following --data ../shared/data
    python docs/figures.py reliability isic2018=runs/isic2018-test \
        cvc_clinicdb=runs/cvc_clinicdb-test

``reliability`` takes the folders that ``latentfm-evaluate`` wrote.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

matplotlib.use("Agg")
from matplotlib import pyplot as plt

ROOT = Path(__file__).resolve().parent.parent
PICTURES = ROOT / "docs" / "images"
BLUE, ORANGE, GREY = "#0072b2", "#e69f00", "#888888"


def method(image: Path, model: str) -> None:
    """Draw the way of four samples from noise to masks, and what is made of sixteen."""
    from latentfm_core.config import SamplingConfig
    from latentfm_core.images.read import read_image
    from latentfm_core.inference.segmenter import Segmenter

    segmenter = Segmenter.load(model, "cpu")
    picture = read_image(image)
    _path(model, picture)
    samples = segmenter.sample(picture, SamplingConfig(n_samples=16, steps=4))
    _maps(picture.pixels, samples, segmenter.summarise(samples))


def _path(source: str, picture: Any, count: int = 4, steps: int = 8) -> None:
    import torch

    from latentfm_core.images.canvas import to_canvas
    from latentfm_core.images.read import to_rgb
    from latentfm_core.inference.network import Network, PlainPath
    from latentfm_core.model_io.bundled import resolve_model
    from latentfm_core.model_io.folder import load_model

    model, card = load_model(resolve_model(source))
    network, data = Network(model, "cpu", "fp32"), card.config.data
    canvas, _ = to_canvas(to_rgb(picture), data.size, data.fit)
    way = PlainPath(steps, "euler")
    condition = network.condition(canvas, way)
    noise = network.noise(tuple(range(count)), data.size)
    states = [(0.0, noise)]
    for number, state in enumerate(network.integrate(noise, condition, way), start=1):
        states.append((number / steps, state))
    chosen = [states[i] for i in (0, 2, 4, 6, 8)]
    figure, axes = plt.subplots(count, 2 * len(chosen), figsize=(10, 4.3))
    for column, (t, latent) in enumerate(chosen):
        decoded = network.decode(latent)
        for row in range(count):
            with torch.no_grad():
                shown = latent[row, :3].permute(1, 2, 0).cpu().numpy()
            axes[row, 2 * column].imshow(np.clip(0.5 + shown / 5, 0, 1), interpolation="nearest")
            axes[row, 2 * column + 1].imshow(decoded[row], cmap="gray", vmin=0, vmax=1)
        axes[0, 2 * column].set_title(f"t = {t:g}: $z_t$", fontsize=9)
        axes[0, 2 * column + 1].set_title("decoded", fontsize=9)
    for row in range(count):
        axes[row, 0].set_ylabel(f"sample {row}", fontsize=9)
    _save(figure, axes, "method-path")


def _maps(pixels: np.ndarray, samples: Any, summary: Any) -> None:
    figure, axes = plt.subplots(1, 4, figsize=(10, 2.8))
    axes[0].imshow(pixels)
    for mask in summary.sample_masks:
        axes[0].contour(mask, [0.5], colors=[ORANGE], linewidths=0.5)
    axes[0].contour(summary.mean_mask, [0.5], colors=["#56b4e9"], linewidths=1.5)
    axes[0].set_title(f"{len(samples)} samples, mean mask", fontsize=9)
    shown = (
        ("mean probability", summary.mean_probability, "viridis", (0, 1)),
        ("variance", summary.variance, "magma", (0, 0.25)),
        ("calibrated confidence", summary.confidence, "plasma", (0.5, 1)),
    )
    for axis, (title, values, colours, limits) in zip(axes[1:], shown, strict=True):
        drawn = axis.imshow(values, cmap=colours, vmin=limits[0], vmax=limits[1])
        axis.set_title(title, fontsize=9)
        figure.colorbar(drawn, ax=axis, shrink=0.8)
    _save(figure, axes, "method-maps")


def _save(figure: Any, axes: np.ndarray, name: str) -> None:
    for axis in axes.flat:
        axis.set_xticks([])
        axis.set_yticks([])
    figure.tight_layout(pad=0.4)
    figure.savefig(PICTURES / f"{name}.png", dpi=110)
    plt.close(figure)


def following(data: Path, model: str, shown: int = 7) -> None:
    """Draw frames of the test sequences with an object that was followed from the first one."""
    from benchmarks.following.cli import read_video
    from benchmarks.stacks import sequences
    from latentfm_core.config import SamplingConfig
    from latentfm_core.inference.following import follow_object
    from latentfm_core.inference.segmenter import Segmenter
    from latentfm_core.metrics.overlap import dice

    folder = data / "cvc_clinicdb"
    split = ROOT / "configs" / "splits" / "cvc_clinicdb_sequence.json"
    part = set(json.loads(split.read_text("utf-8"))["test"])
    segmenter = Segmenter.load(model, "cpu")
    videos = []
    for frames in sequences(folder).values():
        if len(chosen := [stem for stem in frames if stem in part]) > 1:
            videos.append(read_video(folder, chosen))
    figure, axes = plt.subplots(len(videos), shown, figsize=(1.55 * shown, 1.4 * len(videos)))
    for row, video in zip(axes, videos, strict=True):
        settings = SamplingConfig(n_samples=8, seed=0)
        found = follow_object(segmenter, video.images, 0, video.box(0), settings)
        frames = np.linspace(0, len(video.images) - 1, shown).round().astype(int)
        for axis, frame in zip(row, frames, strict=True):
            mask, expert = found.stack.summary_of(frame).mean_mask > 0, video.masks[frame]
            axis.imshow(video.images[frame].pixels)
            for outline, colour in ((expert, "white"), (mask, ORANGE)):
                if outline.any():
                    axis.contour(outline, [0.5], colors=[colour], linewidths=1.2)
            axis.set_title(f"frame {frame}: {dice(mask, expert):.2f}", fontsize=8)
        top, left, bottom, right = video.box(0).box
        size = (left, top), right - left, bottom - top
        row[0].add_patch(plt.Rectangle(*size, fill=False, edgecolor=BLUE, linewidth=1.2))
    _save(figure, axes, "following")


def reliability(folders: list[str]) -> None:
    """Draw frequency over score for each evaluation, and how many pixels a bin holds."""
    figure, axes = plt.subplots(
        2, 2 * len(folders), figsize=(4.6 * len(folders), 3.4), height_ratios=(3, 1), squeeze=False
    )
    kinds = (
        ("reliability", "mean_probability", "foreground", "mean probability", "is foreground"),
        ("agreement", "mean_confidence", "agreeing", "confidence", "agrees with the expert"),
    )
    for place, each in enumerate(folders):
        name, _, folder = each.partition("=")
        summary = json.loads((Path(folder) / "summary.json").read_text())
        for number, (key, score, frequency, label, what) in enumerate(kinds):
            column = 2 * place + number
            bins = summary[key]
            x = np.array(bins[score], float)
            curve, counts = axes[0, column], axes[1, column]
            curve.plot([0, 1], [0, 1], color=GREY, linewidth=1)
            curve.plot(x, np.array(bins[frequency], float), "o-", color=BLUE, markersize=3)
            curve.set_title(f"{name}\n{label}", fontsize=9)
            curve.set_ylabel(what, fontsize=8)
            edges = np.linspace(0, 1, len(x) + 1)
            counts.bar(edges[:-1], bins["pixels"], 1 / len(x), align="edge", color=ORANGE)
            counts.set_yscale("log")
            counts.set_ylim(10, 1e8)  # one scale for all, and marks that do not overlap
            counts.set_yticks([1e2, 1e4, 1e6, 1e8])
            counts.minorticks_off()
            counts.set_xlabel(label, fontsize=8)
            counts.set_ylabel("pixels", fontsize=8)
            for axis in (curve, counts):
                axis.set_xlim(0 if number == 0 else 0.4, 1)
                axis.tick_params(labelsize=7)
            curve.set_ylim(0 if number == 0 else 0.4, 1)
    figure.tight_layout(pad=0.5)
    figure.savefig(PICTURES / "reliability.png", dpi=110)
    plt.close(figure)


def main() -> None:
    """Draw the requested pictures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("what", choices=("method", "following", "reliability"))
    parser.add_argument("folders", nargs="*", metavar="NAME=FOLDER")
    parser.add_argument("--image", type=Path)
    parser.add_argument("--data", type=Path, help="folder with cvc_clinicdb")
    parser.add_argument("--model", help="default: isic2018; for following: generalist")
    args = parser.parse_args()
    if args.what == "method":
        if args.image is None:
            parser.error("--image is needed")
        method(args.image, args.model or "isic2018")
    elif args.what == "following":
        if args.data is None:
            parser.error("--data is needed")
        following(args.data, args.model or "generalist")
    else:
        reliability(args.folders)


if __name__ == "__main__":
    main()
