"""Add a trained model to the bundled ones, with its test metrics on the card.

    python scripts/publish_model.py runs/isic2018 runs/isic2018-test/summary.json

The summary is what ``latentfm-evaluate --part test`` wrote; it must have been measured with
exactly these weights, otherwise nothing is written. A model that was measured on several sets or
with several prompts takes several, each with a name for its figures::

    python scripts/publish_model.py runs/generalist busi_box=runs/busi_box/summary.json ...

It can be omitted for a model to which only a few-step network was added: the card already has
the metrics of its flow. The card's page in ``docs/models`` is generated from the card.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import shutil
import sys
import textwrap
from pathlib import Path
from typing import Any

from latentfm_core.errors import LatentFMError, ModelFolderError
from latentfm_core.files.atomic import write_text
from latentfm_core.model_io.card import ModelCard
from latentfm_core.model_io.domain import read_domain
from latentfm_core.model_io.file_names import DOMAIN
from latentfm_core.model_io.folder import CARD, WEIGHTS, read_card, write_card

ROOT = Path(__file__).resolve().parent.parent
BUNDLED = ROOT / "src" / "latentfm_core" / "weights"
PAGES = ROOT / "docs" / "models"
MAX_BYTES = 25_000_000

logger = logging.getLogger("publish_model")


COLUMNS = {
    "dice": "Dice",
    "iou": "IoU",
    "sample_dice": "Dice of single samples",
    "error_auroc": "error AUROC",
    "confidence_ece": "ECE of the confidence",
}
"""Metrics of each of several summaries to put on the card, and their titles on its page."""


def with_named_figures(card: ModelCard, summaries: dict[str, dict[str, Any]]) -> ModelCard:
    """Return the card with some figures of each summary, under its name."""
    kept = {key: value for key, value in card.metrics.items() if not key.startswith("test_")}
    commands = []
    for name, summary in summaries.items():
        if summary["model"]["sha256"] != card.weights_sha256:
            raise ModelFolderError(f"{name} was measured with other weights than these.")
        kept |= {f"test_{name}_{key}": summary["metrics"][key] for key in COLUMNS}
        commands.append(summary["command"])
    update = {"metrics": kept, "metrics_command": "\n".join(commands)}
    return card.model_copy(update=update)


def with_test_figures(card: ModelCard, summary: dict[str, Any]) -> ModelCard:
    """Return the card with the figures of a summary that belongs to the same weights."""
    if summary["model"]["sha256"] != card.weights_sha256:
        raise ModelFolderError("The summary was measured with other weights than these.")
    figures = {f"test_{key}": value for key, value in summary["metrics"].items()}
    kept = {key: value for key, value in card.metrics.items() if not key.startswith("test_")}
    numbers = {key: value for key, value in figures.items() if isinstance(value, int | float)}
    update = {"metrics": kept | numbers, "metrics_command": summary["command"]}
    return card.model_copy(update=update)


def page(card: ModelCard) -> str:
    """Return the card as a Markdown page."""
    data, training = card.data, card.training
    return f"""# {card.title}

Model `{card.id}`, made {card.created}. {card.description}

**Intended use.** {card.intended_use}

**Licence.** {card.licence}

## Data

{data.name}: {data.source}

Terms: {data.licence}

Split: {data.split} ({data.n_train} training, {data.n_val} validation, {data.n_test} test images).

## Training

{indented(training.command)}

Seed {training.seed}, {training.seconds / 60:.0f} minutes on {training.device}
({", ".join(f"{k} {v}" for k, v in training.versions.items())}).
{encoder(card)}
{distillation(card)}## Figures

The test images were used for nothing else. Their figures were measured with

{indented(card.metrics_command)}

{figures(card.metrics)}

Weights: `{card.weights.file}`, {card.weights.size_bytes / 1e6:.1f} MB, {card.weights.dtype},
SHA-256 `{card.weights.sha256}`.
"""


def figures(metrics: dict[str, float]) -> str:
    """Return the main test figures as a table, and the Dice on the validation images."""
    lines = [f"| test images | {' | '.join(COLUMNS.values())} |", "| --- " * 6 + "|"]
    for key in sorted(metrics):
        if not key.startswith("test_") or not key.endswith("_dice"):
            continue
        name = key.removesuffix("dice")
        if f"{name}iou" not in metrics:
            continue  # the Dice of something else, such as single samples
        values = (metrics.get(name + column) for column in COLUMNS)
        cells = ["" if value is None else f"{value:.3f}" for value in values]
        label = name.removeprefix("test_").replace("_", " ").replace("none", "no prompt")
        lines.append(f"| {label.strip() or 'all'} | {' | '.join(cells)} |")
    kinds = {"": "all prompts", "_none": "no prompt", "_point": "point", "_box": "box"}
    found = [
        f"{kind} {metrics[f'val_dice{ending}']:.3f}"
        for ending, kind in kinds.items()
        if f"val_dice{ending}" in metrics
    ]
    if found:
        lines += ["", f"Validation Dice, which selected the epoch: {', '.join(found)}."]
    return "\n".join(lines)


def encoder(card: ModelCard) -> str:
    """Return the origin of the pretrained encoder, if any."""
    if not card.encoder:
        return ""
    facts = "; ".join(f"{key.replace('_', ' ')}: {value}" for key, value in card.encoder.items())
    return f"""
Encoder, whose weights were changed by the training: {facts}.
"""


def indented(commands: str) -> str:
    """Return commands, one per line, as a block of code."""
    return textwrap.indent(commands, "    ")


def distillation(card: ModelCard) -> str:
    """Return how the few-step network was made, if any."""
    made = card.distillation
    if made is None:
        return ""
    steps = card.config.model.distilled_steps
    found = (card.metrics.get(f"val_dice_steps_{n}", math.nan) for n in range(1, steps + 1))
    scores = ", ".join(f"{each:.3f}" for each in found)
    return f"""Afterwards, a network for runs of at most {steps} Euler steps was added, which
changes nothing else:

{indented(made.command)}

Seed {made.seed}, {made.seconds / 60:.0f} minutes on {made.device}. Validation Dice by number of
steps, from 1: {scores}.

"""


def publish(folder: Path, summary_file: Path | None, named: dict[str, Path] | None = None) -> Path:
    """Copy the model folder to the bundled models; return the path."""
    card = read_card(folder)
    if named:
        found = {name: json.loads(path.read_text("utf-8")) for name, path in named.items()}
        card = with_named_figures(card, found)
    elif summary_file is not None:
        card = with_test_figures(card, json.loads(summary_file.read_text("utf-8")))
    elif card.distillation is None or not any(key.startswith("test_") for key in card.metrics):
        raise ModelFolderError("Give the summary of the test part.")
    if card.weights.size_bytes > MAX_BYTES:
        raise ModelFolderError(f"{folder / WEIGHTS} is larger than 25 MB.")
    target = BUNDLED / card.id
    target.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(folder / WEIGHTS, target / WEIGHTS)
    if (folder / DOMAIN).is_file():
        shutil.copyfile(folder / DOMAIN, target / DOMAIN)
    elif read_domain(target, card) is None:
        (target / DOMAIN).unlink(missing_ok=True)  # made for older weights
    write_card(target, card)
    write_text(PAGES / f"{card.id}.md", page(card))
    return target / CARD


def main() -> int:
    """Run the script."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="model folder that latentfm-train wrote")
    parser.add_argument(
        "summary", nargs="*", help="summary.json of latentfm-evaluate, or several as NAME=FILE"
    )
    args = parser.parse_args()
    named = dict(text.split("=", 1) for text in args.summary if "=" in text)
    single = None if named or not args.summary else Path(args.summary[0])
    paths = {name: Path(text) for name, text in named.items()}
    try:
        logger.info("wrote %s", publish(args.folder, single, paths))
    except LatentFMError as error:
        logger.error("error: %s", error)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
