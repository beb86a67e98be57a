"""A whole training run: data, the three stages in order, and the model folder at the end."""

from __future__ import annotations

import datetime
import json
import logging
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from tqdm import tqdm

from latentfm_core.config import Config, config_from_mapping
from latentfm_core.data.loading import CanvasSet, load_canvases
from latentfm_core.data.pairs import find_pairs
from latentfm_core.data.splits import Split, make_split, write_split
from latentfm_core.errors import CheckpointError, ConfigError
from latentfm_core.inference.device import describe, resolve_device, resolve_precision, to_device
from latentfm_core.models.latentfm import LatentFM
from latentfm_core.models.onehot import one_hot
from latentfm_core.models.vae import PyramidVAE
from latentfm_core.output.sidecar import versions
from latentfm_core.store.atomic import atomic_path, write_text
from latentfm_core.store.bundled import resolve_model
from latentfm_core.store.card import ModelCard
from latentfm_core.store.folder import load_model, save_model
from latentfm_core.training.batches import seed_for
from latentfm_core.training.checkpoint import FILE, Position, read_checkpoint, save_checkpoint
from latentfm_core.training.ema import EMA
from latentfm_core.training.loop import EpochReport, Hooks, StageLoop
from latentfm_core.training.options import RunOptions
from latentfm_core.training.runlog import RunLog
from latentfm_core.training.stages import STAGES, make_stage
from latentfm_core.training.validate import (
    all_masks,
    latent_statistics,
    reconstruction_dice,
    selection_score,
    validate,
)

logger = logging.getLogger(__name__)

__all__ = ["BEST", "RunOptions", "Trainer", "portable", "resumed_config"]

BEST = "best.safetensors"


class Trainer:
    """Trains image VAE, mask VAE and flow in order.

    Raises
    ------
    DatasetError
        If the images and masks do not form a data set.
    ConfigError
        If the settings name no data.
    CheckpointError
        If there is a run in the folder already and `resume` is off, or none to resume.
    """

    def __init__(self, config: Config, options: RunOptions) -> None:
        self.config = config
        self.options = options
        self.folder = options.out / "training"
        has_checkpoint = (self.folder / FILE).is_file()
        if has_checkpoint and not options.resume:
            raise CheckpointError(
                f"{options.out} already holds a training run. Add --resume to go on with it, "
                "or choose another --out."
            )
        self.checkpoint = read_checkpoint(self.folder) if options.resume else None
        self.device = resolve_device(config.training.device)
        if config.training.precision == "fp16":
            raise ConfigError("Training in fp16 is not supported; use bf16, fp32 or auto.")
        self.dtype = resolve_precision(config.training.precision, self.device)
        self.split, self.train_set, self.val_set = self._load_data()
        torch.manual_seed(seed_for(config.training.seed, 99))
        self.model = self._initial_model()
        if self.checkpoint is not None:
            self.checkpoint.restore_model(self.model)
            self.position = self.checkpoint.position
        else:
            self.position = Position(STAGES[0])
        to_device(self.model, self.device)

    def _initial_model(self) -> LatentFM:
        if self.options.init is None or self.checkpoint is not None:
            return LatentFM(self.config.model)
        model, card = load_model(resolve_model(self.options.init))
        if card.config.model != self.config.model:
            raise ConfigError(
                f"The model {card.id} that --init names has other network settings than this "
                "run. Leave the [model] table as it is on the card of that model."
            )
        return model

    def _load_data(self) -> tuple[Split, CanvasSet, CanvasSet | None]:
        data = self.config.data
        if data.images is None or data.masks is None:
            raise ConfigError(
                "No training data named. Give --images and --masks, or data.images and "
                "data.masks in the configuration."
            )
        found = find_pairs(data.images, data.masks, data.skip_unmasked, data.reading)
        pairs = {pair.name: pair for pair in found}
        split = make_split(pairs, data)
        train = _load([pairs[name] for name in split.train], self.config, "training images")
        val = None
        if split.val:
            val = _load([pairs[name] for name in split.val], self.config, "validation images")
        used = {*train.names, *(val.names if val is not None else ()), *split.test}
        return split.restricted(used), train, val

    def run(self) -> ModelCard | None:
        """Train to the end and write the model folder.

        Returns
        -------
        ModelCard or None
            The card, or None if the run was stopped; its checkpoint is then saved.
        """
        write_text(self.folder / "config.json", json.dumps(self.config.to_json(), indent=2) + "\n")
        write_split(self.folder / "split.json", self.split)
        log = RunLog(self.folder, self.options.tensorboard)
        try:
            while self.position.stage != "done":
                if not self._run_stage(self.position.stage, log):
                    return None
        finally:
            log.close()
        return self._write_model()

    def finish(self) -> ModelCard:
        """Write the model of a run that was stopped, as it is now; the run can still go on.

        The best validated weights are taken, or, before the first validation, the latest
        averages.
        """
        if (self.folder / BEST).is_file():
            self._take_best()
        elif self.checkpoint is not None and self.position.stage != "done":
            stage = make_stage(self.position.stage, self.model, self.config)
            averages = EMA(stage.parameters(), 0.0)
            self.checkpoint.restore_ema(averages)
            averages.copy_to_model()
        return self._write_model()

    def _run_stage(self, name: str, log: RunLog) -> bool:
        stage = make_stage(name, self.model, self.config)
        loop = StageLoop(stage, self.train_set, self.position, self.device, self.dtype)
        if self.checkpoint is not None and self.checkpoint.position.stage == name:
            loop.restore(self.checkpoint)
        self.checkpoint = None

        def end_of_epoch(loop: StageLoop, report: EpochReport) -> None:
            self._validate(loop, report)
            log.add(report)

        options = self.options
        hooks = Hooks(options.should_stop, self._save, end_of_epoch, options.on_step)
        if not loop.run(hooks, self.config.training.checkpoint_minutes * 60):
            return False
        if loop.ema is not None:
            loop.ema.copy_to_model()
        self._finish_stage(name)
        return True

    def _finish_stage(self, name: str) -> None:
        self.model.eval()
        # Latents that a trained flow already speaks must keep their scale.
        kept = self.options.init is not None and not getattr(self.config.training, name).epochs
        if name == "image_vae" and not kept and not isinstance(self.model.image_vae, PyramidVAE):
            vae = self.model.image_vae
            images = torch.from_numpy(self.train_set.images).permute(0, 3, 1, 2)
            mean, std = latent_statistics(
                lambda x: vae.encode(x.float() / 127.5 - 1), images, self.device
            )
            self.model.image_latent_mean.copy_(mean)
            self.model.image_latent_std.copy_(std)
        if name == "mask_vae":
            masks = all_masks(self.train_set)
            if not kept:
                mean, std = latent_statistics(
                    lambda x: self.model.mask_vae.encode(
                        one_hot(x, self.config.model.mask_channels) * 2 - 1
                    ),
                    masks,
                    self.device,
                )
                self.model.latent_mean.copy_(mean)
                self.model.latent_std.copy_(std)
            held_out = self.val_set or self.train_set
            score = reconstruction_dice(self.model, held_out, self.device)
            logger.info("mask VAE reconstruction Dice: %.4f", score)
            self.position.metrics["val_mask_vae_dice"] = score
        following = STAGES.index(name) + 1
        self.position.stage = STAGES[following] if following < len(STAGES) else "done"
        self.position.step, self.position.stage_seconds = 0, 0.0
        if self.position.stage == "done" and (self.folder / BEST).is_file():
            self._take_best()
        save_checkpoint(self.folder, self.model, self.position, self.config.to_json())

    def _take_best(self) -> None:
        path = self.folder / BEST
        try:
            self.model.load_state_dict(load_file(path))
        except (SafetensorError, OSError, RuntimeError):
            raise CheckpointError(
                f"{path} is damaged or of another network. Remove it to go on with the latest "
                "weights instead of the best."
            ) from None

    def _validate(self, loop: StageLoop, report: EpochReport) -> None:
        flow = self.config.training.flow
        last = loop.share_done() >= 1
        if report.stage != "flow" or self.val_set is None:
            return
        if report.epoch % flow.validate_every and not last:
            return
        picture = self.folder / "samples" / f"epoch_{report.epoch:04d}.png"
        if loop.ema is None:
            self._score(report, picture)
            return
        with loop.ema.applied():
            self._score(report, picture)

    def _score(self, report: EpochReport, picture: Path) -> None:
        if self.val_set is None:
            return
        stop = self.options.should_stop
        report.validation = validate(
            self.model, self.config, self.val_set, self.device, picture, stop
        )
        if not report.validation:
            return
        self.options.on_validation(report)
        score = selection_score(report.validation)
        if score > self.position.best_score:
            self.position.best_score = score
            self.position.metrics |= report.validation
            tensors = {k: v.detach().cpu().contiguous() for k, v in self.model.state_dict().items()}
            with atomic_path(self.folder / BEST) as temporary:
                save_file(tensors, temporary)

    def _save(self, loop: StageLoop) -> None:
        save_checkpoint(
            self.folder,
            self.model,
            self.position,
            self.config.to_json(),
            loop.optimizer,
            loop.ema,
        )

    def _write_model(self) -> ModelCard:
        written = self.options.card or {}
        data = {
            **written.get("data", {}),
            "n_train": len(self.split.train),
            "n_val": len(self.split.val),
            "n_test": len(self.split.test),
        }
        card = {
            "id": self.options.out.resolve().name,
            **written,
            "created": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
            "config": portable(self.config).to_json(),
            "data": data,
            "training": {
                "command": self.options.command,
                "seed": self.config.training.seed,
                "seconds": round(self.position.seconds, 1),
                "device": describe(self.device, self.dtype),
                "versions": versions(),
            },
            "metrics": self.position.metrics,
        }
        return save_model(self.options.out, self.model, card)


def portable(config: Config) -> Config:
    """Return `config` without the paths of this machine, for model cards."""
    paths = {"images": None, "masks": None, "split_file": None}
    grouping = {"group_file": None, "group_column": None}
    data = config.data.model_copy(update={**paths, **grouping})
    return config.model_copy(update={"data": data})


def resumed_config(folder: Path) -> Config:
    """Return the configuration that the run in model folder `folder` was started with."""
    return config_from_mapping(read_checkpoint(folder / "training").config)


def _load(pairs: list[Any], config: Config, what: str) -> CanvasSet:
    with tqdm(total=len(pairs), desc=f"reading {what}", unit="image", mininterval=1.0) as bar:

        def advance(done: int, total: int) -> None:
            bar.update()

        return load_canvases(
            pairs, config.data, on_progress=advance, classes=len(config.model.classes)
        )
