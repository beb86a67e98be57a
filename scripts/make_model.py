"""Train a released model again, with its configuration and card.

    python scripts/make_model.py isic2018 [--data ../shared/data] [options of latentfm-train]

Reads ``configs/NAME.toml`` and ``configs/cards/NAME.toml`` and writes ``runs/NAME``. A run that was
stopped is continued. A model that was trained in several runs gets the later ones as well
(`LATER`). If images are missing, it says where to get them and which folders are expected.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from latentfm_core.cli.train import main as train
from latentfm_core.config import Config, load_config
from latentfm_core.config.loading import to_toml
from latentfm_core.errors import ConfigError, DatasetError, LatentFMError
from latentfm_core.files.atomic import write_text
from latentfm_core.training.checkpoint import FILE
from latentfm_core.training.run_folder import TRAINING

ROOT = Path(__file__).resolve().parent.parent
DATA = Path("../shared/data")
"""Folder of the data sets in the configurations, from the project's root."""

PARENTS = {
    "cvc_clinicdb": "generalist",
    "isic2018": "generalist",
    "lidc_idri": "generalist",
    "polyp": "generalist",
}
"""Bundled models from which others are fine-tuned."""

LATER = {
    "generalist": {
        "generalist": ("training.flow.max_seconds=5260",),
        "generalist_2": (
            "training.mask_vae.epochs=0",
            "training.flow.learning_rate=7e-4",
            "training.flow.small_epochs=6",
            "training.flow.max_seconds=5400",
        ),
        "generalist_final": (
            "training.mask_vae.epochs=0",
            "training.flow.learning_rate=7e-4",
            "training.flow.small_epochs=5",
            "training.flow.max_seconds=6000",
            "training.seed=2019",
        ),
        "generalist_few_steps": (
            "model.distilled_steps=2",
            "training.mask_vae.epochs=0",
            "training.flow.epochs=0",
            "training.distill.epochs=6",
            "training.distill.small_epochs=4",
            "training.distill.max_seconds=3300",
        ),
    },
    "isic2018": {
        "isic2018": (
            "training.flow.epochs=46",
            "training.flow.max_seconds=8000",
            "training.flow.learning_rate=4e-4",
        ),
        "isic2018_final": (
            "training.flow.epochs=4",
            "training.flow.small_epochs=2",
            "training.flow.learning_rate=3e-4",
            "training.flow.encoder_frozen=0",
            "training.flow.validate_every=1",
            "training.flow.max_seconds=1500",
        ),
    },
}
"""Later runs of a model: their folders, and their settings. The same folder extends the run in it,
another one starts from the model of the previous run."""

SOURCES = {
    "isic2018": "https://challenge.isic-archive.com/data/#2018",
    "cvc_clinicdb": "https://polyp.grand-challenge.org/CVCClinicDB/",
    "polypgen": "https://doi.org/10.7303/syn26376615",
    "lidc_idri": "https://www.cancerimagingarchive.net/collection/lidc-idri/",
    "hc18": "https://zenodo.org/record/1327317",
    "fuseg_wound": "https://github.com/uwm-bigdata/wound-segmentation",
    "dsb2018_nuclei": "https://bbbc.broadinstitute.org/BBBC038",
    "bbbc010_worms": "https://bbbc.broadinstitute.org/BBBC010",
    "chase_vessels": "https://blogs.kingston.ac.uk/retinal/chasedb1/",
}
"""Download page of each data set. docs/retraining.md says how they were prepared."""

logger = logging.getLogger("make_model")


def config_file(name: str, folder: Path) -> Path:
    """Return the configuration of a model.

    Raises
    ------
    ConfigError
        If there is none; the message lists all.
    """
    path = folder / f"{name}.toml"
    if not name or not path.is_file():
        names = ", ".join(sorted(each.stem for each in folder.glob("*.toml")))
        raise ConfigError(
            f"There is no model {name!r}. Choose one: make model NAME=..., of {names}."
        )
    return path


def folders_of(config: Config) -> list[Path]:
    """Return the folders of images and masks that a configuration names."""
    data = config.data
    found = [data.images, data.masks]
    for each in data.sets:
        found += [each.images, each.masks]
    return [path for path in found if path is not None]


def check_data(config: Config) -> None:
    """Check that all images are there.

    Raises
    ------
    DatasetError
        The message names the missing data sets and their download pages.
    """
    missing = sorted({path.parent for path in folders_of(config) if not path.is_dir()})
    if not missing:
        return
    lines = [f"{path}: {SOURCES.get(path.name, 'see the configuration')}" for path in missing]
    raise DatasetError(
        "These data sets are missing. Download them, and put images and masks into the folders "
        "images and masks of each (docs/retraining.md says how they "
        "were prepared):\n  " + "\n  ".join(lines) + "\nOr name the folder that has them: "
        "make model NAME=... DATA=FOLDER"
    )


def elsewhere(config: Config, data: Path) -> Config:
    """Return a configuration whose data sets are in the folder `data`."""

    def moved(path: Path | None) -> Path | None:
        return None if path is None else data.resolve() / path.parent.name / path.name

    one = {"images": moved(config.data.images), "masks": moved(config.data.masks)}
    sets = tuple(
        each.model_copy(update={"images": moved(each.images), "masks": moved(each.masks)})
        for each in config.data.sets
    )
    own = config.data.model_copy(update={**one, "sets": sets})
    return config.model_copy(update={"data": own})


def command_of(args: argparse.Namespace, more: Sequence[str]) -> list[str]:
    """Return the arguments of ``latentfm-train`` for a model, after checking its data.

    Raises
    ------
    LatentFMError
        If there is no such model, or images are missing.
    """
    path = config_file(args.name, args.configs)
    config = load_config(path)
    if args.data is not None:
        config = elsewhere(config, args.data)
    check_data(config)
    out = args.runs / args.name
    if args.data is not None and not (out / TRAINING / FILE).is_file():
        out.parent.mkdir(parents=True, exist_ok=True)
        path = args.runs / f"{args.name}.toml"
        write_text(path, to_toml(config))
    return one_run(args, path, out, PARENTS.get(args.name), more)


def one_run(
    args: argparse.Namespace, config: Path, out: Path, parent: str | None, more: Sequence[str]
) -> list[str]:
    """Return the arguments of a run into the folder `out`, or of its continuation."""
    card = args.configs / "cards" / f"{args.name}.toml"
    common = ["--card", os.path.relpath(card), "--out", os.path.relpath(out), *more]
    if (out / TRAINING / FILE).is_file():
        return ["--resume", *common]
    init = [] if parent is None else ["--init", parent]
    return ["--config", os.path.relpath(config), *init, *common]


def later_runs(args: argparse.Namespace, more: Sequence[str]) -> Iterator[list[str]]:
    """Yield the arguments of each later run, when the previous one has ended."""
    written = args.runs / f"{args.name}.toml"
    config = config_file(args.name, args.configs) if args.data is None else written
    before = args.name
    for name, settings in LATER.get(args.name, {}).items():
        sets = [word for setting in settings for word in ("--set", setting)]
        parent = os.path.relpath(args.runs / before)
        yield one_run(args, config, args.runs / name, parent, [*more, *sets])
        before = name


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; return the exit code."""
    logger.setLevel(logging.INFO)
    logger.addHandler(logging.StreamHandler())
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").splitlines()[0], allow_abbrev=False
    )
    parser.add_argument("name", help="name of a file in configs/, without .toml")
    parser.add_argument("--data", type=Path, help=f"folder of the data sets (default: {DATA})")
    parser.add_argument("--configs", type=Path, default=ROOT / "configs", help=argparse.SUPPRESS)
    parser.add_argument("--runs", type=Path, default=ROOT / "runs", help="where runs are written")
    args, more = parser.parse_known_args(argv)
    try:
        command = command_of(args, more)
    except LatentFMError as error:
        logger.error("%s", error)
        return 2
    later = iter(()) if "--dry-run" in more else later_runs(args, more)
    for each in chain([command], later):
        logger.info("latentfm-train %s", " ".join(each))
        if code := train(each):
            return code
    if "--dry-run" in more:
        for folder, settings in LATER.get(args.name, {}).items():
            logger.info("A later run, into %s: %s", args.runs / folder, " ".join(settings))
    return 0


if __name__ == "__main__":
    sys.exit(main())
