"""A full training run: data, the stages in order, and the model folder."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from latentfm_core.bars import is_quiet, progress_bar
from latentfm_core.config import Config, config_from_mapping
from latentfm_core.datasets.balance import balanced
from latentfm_core.datasets.folds import training_split
from latentfm_core.datasets.in_memory import CanvasSet, load_canvases
from latentfm_core.datasets.layouts import training_pairs
from latentfm_core.datasets.object_set import (
    ObjectSet,
    SetPairs,
    find_sets,
    joined_split,
    load_objects,
    load_sets,
    with_split,
)
from latentfm_core.datasets.pairs import Pair
from latentfm_core.datasets.splits import Split, write_split
from latentfm_core.errors import (
    Cancelled,
    CheckpointError,
    ConfigError,
    FolderBusy,
    OutputError,
)
from latentfm_core.files.atomic import atomic_path, write_text
from latentfm_core.files.optional import not_essential
from latentfm_core.files.own_runs import signature_of
from latentfm_core.inference.device import describe, resolve_precision, to_device
from latentfm_core.model_io.bundled import resolve_model
from latentfm_core.model_io.card import CARD, ModelCard, read_card
from latentfm_core.model_io.folder import load_model, save_model
from latentfm_core.models.latentfm import LatentFM
from latentfm_core.models.onehot import one_hot
from latentfm_core.models.tensor_names import current_name
from latentfm_core.models.vae import VAE
from latentfm_core.output.paths import check_writable
from latentfm_core.training.announce import DataSet, announce, announce_objects
from latentfm_core.training.batches import seed_for
from latentfm_core.training.checkpoint import DONE, FILE, Position, read_checkpoint, save_checkpoint
from latentfm_core.training.distillation import distilled_card, is_distillation, remember_parent
from latentfm_core.training.distributed import join_team
from latentfm_core.training.divergence import Diverged
from latentfm_core.training.ema import EMA
from latentfm_core.training.extending import reopen, warn_of_calibration
from latentfm_core.training.imagenet import imagenet_origin, load_imagenet
from latentfm_core.training.loop import Hooks, StageLoop
from latentfm_core.training.meters import EpochReport
from latentfm_core.training.options import RunOptions
from latentfm_core.training.resuming import (
    check_resumed,
    extends,
    finished_card,
    resumed_config,
)
from latentfm_core.training.run_card import card_fields, check_card
from latentfm_core.training.run_folder import (
    BEST,
    TRAINING,
    RunFolder,
    check_initial,
    check_places,
    refuse_second_run,
)
from latentfm_core.training.run_record import (
    DataRecord,
    data_record,
    fingerprints,
    refuse_changed_pixels,
    resumed_split,
    signed_facts,
    with_command,
    with_signature,
)
from latentfm_core.training.runlog import RunLog
from latentfm_core.training.stages import STAGES, make_stage
from latentfm_core.training.trained_on import write_trained_on
from latentfm_core.training.validate import (
    all_masks,
    draft_card,
    latent_statistics,
    reconstruction_dice,
    selection_score,
    validate,
)
from latentfm_core.training.validate_prompts import validate_prompts

logger = logging.getLogger(__name__)

__all__ = ["BEST", "RunOptions", "Trainer", "portable", "resumed_config"]

SLOW_READING = 60.0
"""Reading time in seconds above which a cache is recommended."""


class Trainer:
    """Trains image VAE, mask VAE, flow and optionally the few-step network, in order.

    Raises
    ------
    DatasetError
        If the images and masks do not form a data set.
    ConfigError
        If the settings do not name any data.
    CheckpointError
        If there is a run in the folder already and `resume` is off, none to resume, or the run
        cannot continue with these settings or images.
    OutputError
        If the folder cannot be used, or another process has it (`FolderBusy`).
    Cancelled
        If a stop was asked for while images were read.
    """

    def __init__(self, config: Config, options: RunOptions) -> None:
        self.config = config
        self.options = options
        self.folder = options.out / TRAINING
        if config.data.folds is not None and config.data.fold is None:
            raise ConfigError(
                "data.folds trains several models: train them with CrossValidation, or choose one "
                "with data.fold."
            )
        # Check what the end of the run needs before reading the images.
        if not options.resume:
            refuse_second_run(options.out)
        check_places(options.out, config.data)
        self.checkpoint = read_checkpoint(self.folder) if options.resume else None
        self._check_settings()
        check_writable(options.out)
        self.team = join_team(config.training.device)
        self.device = self.team.device
        if config.training.precision == "fp16":
            raise ConfigError("Training in fp16 is not supported; use bf16, fp32 or auto.")
        self.dtype = resolve_precision(config.training.precision, self.device)
        self._place = RunFolder(options.out, options.resume)
        if self.team.first:
            self._place.claim_if_there()
        try:
            self._prepare()
        except BaseException:
            self._place.release()
            raise

    def _check_settings(self) -> None:
        """Reject settings that could not be used, or not written, at the end of the run."""
        config, options = self.config, self.options
        check_card(options.card or {}, portable(config), options.out.resolve().name)
        options.tracking.check()
        if self.checkpoint is not None:
            check_resumed(self.checkpoint, config, options.out)
        elif options.init is not None:
            check_initial(options.init, config)

    def _prepare(self) -> None:
        """Read the images and build the network."""
        config = self.config
        # The others read from the cache what one has decoded; without a cache none waits.
        turns = self.team.one_here_first() if config.data.cache else nullcontext()
        with self.team.together(), turns:
            self.split, train, self.val_set = self._load_data()
        self.train_set = balanced(train, config.model.classes, config.data.rare_class)
        torch.manual_seed(seed_for(config.training.seed, 99))
        self.model = self._initial_model()
        before = self.checkpoint.run if self.checkpoint is not None else None
        self._record = with_command(before, self.options.command, self._data_record())
        if self.checkpoint is not None:
            self.checkpoint.restore_model(self.model)
            self.position = self.checkpoint.position
            self._extend_if_asked()
        else:
            self.position = Position(STAGES[0])
        to_device(self.model, self.device)
        self._announce()
        # No process writes to the folder before all have checked for an existing run.
        self.team.wait()

    def _extend_if_asked(self) -> None:
        if self.checkpoint is None or not extends(self.checkpoint, self.config):
            return
        if not (self.folder / BEST).is_file():
            self.position.best_score = -math.inf
        warn_of_calibration(finished_card(self.options.out))
        reopen(self.position, self.config, len(self.train_set.names))

    def _announce(self) -> None:
        train, val = self.train_set, self.val_set
        if isinstance(train, ObjectSet):
            held_out = val if isinstance(val, ObjectSet) else None
            objects = self.split, train, held_out, self.model
            announce_objects(self.config, *objects, self.device, self.dtype)
        elif not isinstance(val, ObjectSet):
            found = self.pairs, self.split, train, val
            announce(self.config, *found, self.model, self.device, self.dtype)

    def _initial_model(self) -> LatentFM:
        if self.options.init is None or self.checkpoint is not None:
            model = LatentFM(self.config.model)
            if model.encoder is not None and self.checkpoint is None:
                load_imagenet(model.encoder.encoder, self.config.model.encoder)
            return model
        source, _ = load_model(resolve_model(self.options.init))
        model = LatentFM(self.config.model)
        # The few-step network always starts from the flow, in its own stage.
        weights = {
            k: v for k, v in source.state_dict().items() if not k.startswith("few_step_velocity.")
        }
        model.load_state_dict(weights, strict=False)
        return model

    def _load_data(self) -> tuple[Split, DataSet, DataSet | None]:
        data = self.config.data
        start = time.monotonic()
        train: DataSet
        val: DataSet | None = None
        self.pairs: dict[str, Pair] = {}
        if data.sets:
            sets = find_sets(data)
            split = joined_split(sets)
            if self.checkpoint is not None:
                split = self._split([*split.train, *split.val, *split.test], split)
                sets = with_split(sets, split)
            train = self._load_part(sets, "train", split)
            val = self._load_part(sets, "val", split) if split.val else None
        else:
            pairs = self.pairs = {pair.name: pair for pair in training_pairs(data)}
            split = self._split(pairs)
            train = self._load([pairs[name] for name in split.train], "training images")
            if split.val:
                val = self._load([pairs[name] for name in split.val], "validation images")
        seconds = time.monotonic() - start
        if seconds > SLOW_READING and data.cache is None:
            logger.info(
                "Reading the images took %.0f s. The next run starts immediately if you add "
                "--cache FOLDER, which keeps copies of them there.",
                seconds,
            )
        used = {*train.names, *(val.names if val is not None else ()), *split.test}
        return split.restricted(used), train, val

    def _split(self, names: Collection[str], drawn: Split | None = None) -> Split:
        """Return the split: unchanged if the run is resumed, unless `--changed-data` redraws it.

        `drawn` is the split as drawn now, used in place of `training_split`.
        """
        data, checkpoint = self.config.data, self.checkpoint
        redrawn = drawn is not None and self.options.changed_data == "redraw"
        if checkpoint is None or checkpoint.run is None or redrawn:
            return drawn or training_split(names, data)
        stored = config_from_mapping(checkpoint.config).data
        record, changed = checkpoint.run.data, self.options.changed_data
        return resumed_split(record, names, data, stored, changed)

    def _data_record(self) -> DataRecord:
        """Return the description of the images for the checkpoint.

        Raises
        ------
        CheckpointError
            If they have changed since the run began and `changed_data` does not allow it.
        """
        before = self.checkpoint.run.data if self.checkpoint and self.checkpoint.run else None
        found = fingerprints(self.train_set, self.val_set)
        if before is not None and self.options.changed_data == "refuse":
            refuse_changed_pixels(before, found)
        left_out = {*self.train_set.skipped, *(self.val_set.skipped if self.val_set else ())}
        return data_record(before, self.split, found, left_out)

    def _load(self, pairs: list[Pair], what: str) -> DataSet:
        data = self.config.data
        with self._reading_bar(what, len(pairs)) as advance:
            if self.config.model.prompts:
                return load_objects(pairs, data, advance)
            classes = len(self.config.model.classes)
            return load_canvases(pairs, data, on_progress=advance, classes=classes)

    def _load_part(
        self, sets: list[SetPairs], part: Literal["train", "val"], split: Split
    ) -> ObjectSet:
        what = {"train": "training images", "val": "validation images"}[part]
        with self._reading_bar(what, len(getattr(split, part))) as advance:
            return load_sets(sets, part, self.config.data, advance)

    @contextmanager
    def _reading_bar(self, what: str, total: int) -> Iterator[Callable[[int, int], None]]:
        quiet = not self.team.first or is_quiet(logger)
        with progress_bar(total, f"reading {what}", "image", quiet) as bar:

            def advance(done: int, total: int) -> None:
                bar.update()
                if self.options.should_stop_reading():
                    raise Cancelled("Stopped while the images were read.")

            yield advance

    def run(self) -> ModelCard | None:
        """Train to the end and write the model folder.

        Rank 0 writes; other processes return when it has finished.

        Returns
        -------
        ModelCard or None
            The card, or None if the run was stopped; its checkpoint is then saved.

        Raises
        ------
        ResourceError
            If another process of the run has stopped.
        OutputError
            If nothing can be written; the last checkpoint is still there.
        """
        try:
            with self.team.together():
                self.claim()
                if not self._run_stages():
                    return None
                card = self._write_model() if self.team.first else draft_card(self.config)
                self.team.wait()
        except FolderBusy:
            raise
        except OutputError as error:
            raise OutputError(f"{error} {self._how_to_go_on()}") from error
        except Diverged as error:
            raise self._with_advice(error) from error
        finally:
            self._place.release()
        return card

    def close(self) -> None:
        """Release the folder without training."""
        self._place.release()

    def claim(self) -> None:
        """Lock the folder for this run until `run` or `finish` ends.

        Raises
        ------
        OutputError
            If it cannot be made, or another process has it (`FolderBusy`).
        CheckpointError
            If another run was started there in the meantime.
        """
        if self.team.first:
            self._place.claim()

    def _with_advice(self, error: Diverged) -> Diverged:
        setting = f"--set training.{error.stage}.learning_rate={error.learning_rate:g}"
        if (self.folder / FILE).is_file():
            how = f"Resume from the last checkpoint, which is valid, with --resume {setting}."
        else:
            how = f"Start again with {setting}."
        return Diverged(f"{error} {how}", error.stage, error.learning_rate)

    def _how_to_go_on(self) -> str:
        if not (self.folder / FILE).is_file():
            return "No checkpoint was written; start the run again."
        return "The last checkpoint is kept; then resume the run (latentfm-train: --resume)."

    def _write_facts(self) -> None:
        """Write the facts of the whole run."""
        text = json.dumps(self.config.to_json(), indent=2)
        write_text(self.folder / "config.json", text + "\n")
        write_split(self.folder / "split.json", self.split)
        write_trained_on(self.folder, self._record.data.trained_on)
        if self.options.init is not None and is_distillation(self.config):
            remember_parent(self.folder, resolve_model(self.options.init))

    def _run_stages(self) -> bool:
        log: RunLog | None = None
        if self.team.first:
            self._write_facts()
            log = self._open_log()
        try:
            while self.position.stage != "done":
                if not self._run_stage(self.position.stage, log):
                    return False
        finally:
            if log is not None:
                log.close()
        return True

    def _open_log(self) -> RunLog:
        name, settings = self.options.out.resolve().name, portable(self.config).to_json()
        resumed = self.checkpoint is not None
        loggers = self.options.tracking.open(self.folder, name, settings, resumed=resumed)
        return RunLog(self.folder, self.position, loggers)

    def finish(self) -> ModelCard:
        """Write the current model of a stopped run; the run can still be resumed.

        It has the best validated weights or, before the first validation, the latest
        averages.
        """
        self.claim()
        try:
            if (self.folder / BEST).is_file():
                self._take_best()
            elif self.checkpoint is not None and self.position.stage != "done":
                stage = make_stage(self.position.stage, self.model, self.config)
                averages = EMA(stage.parameters(), 0.0)
                self.checkpoint.restore_ema(averages)
                averages.copy_to_model()
            return self._write_model()
        finally:
            self._place.release()

    def _run_stage(self, name: str, log: RunLog | None) -> bool:
        absent = (
            self.model.image_vae is None
            if name == "image_vae"
            else name == "distill" and not self.config.model.distilled_steps
        )
        if absent:
            self._finish_stage(name)
            return True
        stage = make_stage(name, self.model, self.config)
        if not self.position.step:
            stage.begin()
        loop = StageLoop(stage, self.train_set, self.position, self.team, self.dtype)
        if self.checkpoint is not None and self.checkpoint.position.stage == name:
            loop.restore(self.checkpoint)
        self.checkpoint = None

        def end_of_epoch(loop: StageLoop, report: EpochReport) -> None:
            self._validate(loop, report)
            if log is not None:
                log.add(report, self._picture(report))

        options = self.options
        hooks = Hooks(
            options.should_stop, self._save, end_of_epoch, options.on_step, options.urgent
        )
        if not loop.run(hooks, self.config.training.checkpoint_minutes * 60):
            return False
        if loop.ema is not None:
            loop.ema.copy_to_model()
        try:
            self._finish_stage(name)
        except Cancelled:
            # The checkpoint is from the last step; the resumed run does what was left out.
            self._save(loop)
            return False
        return True

    def _check_urgent(self) -> None:
        """Abort long work between two steps if the user asks for it.

        Raises
        ------
        Cancelled
            If the user did. With several processes this never happens, as the others would wait.
        """
        if self.team.size == 1 and self.options.urgent():
            raise Cancelled("Stopped at the end of a stage.")

    def _finish_stage(self, name: str) -> None:
        self.model.eval()
        # Latents that a trained flow already uses must keep their scale.
        kept = self.options.init is not None and not getattr(self.config.training, name).epochs
        vae = self.model.image_vae
        if (
            name == "image_vae"
            and not kept
            and isinstance(vae, VAE)
            and isinstance(self.train_set, CanvasSet)
        ):
            images = torch.from_numpy(self.train_set.images).permute(0, 3, 1, 2)
            mean, std = latent_statistics(
                lambda x: vae.encode(x.float() / 127.5 - 1),
                images,
                self.device,
                self._check_urgent,
            )
            self.model.image_latent_mean.copy_(mean)
            self.model.image_latent_std.copy_(std)
        if name == "mask_vae":
            masks = all_masks(self.train_set, self.config.data.size)
            if not kept:
                mean, std = latent_statistics(
                    lambda x: self.model.mask_vae.encode(
                        one_hot(x, self.config.model.mask_channels) * 2 - 1
                    ),
                    masks,
                    self.device,
                    self._check_urgent,
                )
                self.model.latent_mean.copy_(mean)
                self.model.latent_std.copy_(std)
            held_out = self.val_set or self.train_set
            shown = all_masks(held_out, self.config.data.size)
            score = reconstruction_dice(self.model, shown, self.device, self._check_urgent)
            logger.info("mask VAE reconstruction Dice: %.4f", score)
            self.position.metrics["val_mask_vae_dice"] = score
        if name == "flow" and self.team.first and (self.folder / BEST).is_file():
            self._take_best()
        if (
            name == "distill"
            and self.val_set is not None
            and self.model.few_step_velocity is not None
        ):
            self._score_few_steps(self.val_set)
        following = STAGES.index(name) + 1
        self.position.stage = STAGES[following] if following < len(STAGES) else "done"
        self.position.stage_times[name] = self.position.stage_seconds
        self.position.step, self.position.stage_seconds = 0, 0.0
        self.position.extended_step, self.position.extended_seconds = 0, 0.0
        self.position.first_loss = None
        self._save()

    def _take_best(self) -> None:
        path = self.folder / BEST
        try:
            weights = {current_name(k): v for k, v in load_file(path).items()}
            self.model.load_state_dict(weights)
        except (SafetensorError, OSError, RuntimeError):
            raise CheckpointError(
                f"{path} is damaged or from another network. Remove it to continue with the latest "
                "weights instead of the best."
            ) from None

    def _validate(self, loop: StageLoop, report: EpochReport) -> None:
        flow = self.config.training.flow
        last = loop.share_done() >= 1
        if report.stage != "flow" or self.val_set is None:
            return
        if report.epoch % flow.validate_every and not last:
            return
        with nullcontext() if loop.ema is None else loop.ema.applied():
            self._score(report, self._picture(report))
        if flow.patience is not None and self.position.stale >= flow.patience and not last:
            logger.info(
                "No improvement in %d validations in a row: the flow stage ends with the best "
                "weights.",
                self.position.stale,
            )
            loop.end_early()

    def _picture(self, report: EpochReport) -> Path:
        return self.folder / "samples" / f"epoch_{report.epoch:04d}.png"

    def _score(self, report: EpochReport, picture: Path) -> None:
        if self.val_set is None:
            return
        report.validation = self._figures(self.val_set, picture)
        if not report.validation:
            return
        self.options.on_validation(report)
        score = selection_score(report.validation)
        self.position.stale += 1
        if score > self.position.best_score:
            self.position.best_score, self.position.stale = score, 0
            self.position.metrics |= report.validation
            if not self.team.first:
                return
            tensors = {k: v.detach().cpu().contiguous() for k, v in self.model.state_dict().items()}
            with atomic_path(self.folder / BEST) as temporary:
                save_file(tensors, temporary)

    def _figures(self, data: DataSet, picture: Path, steps: int | None = None) -> dict[str, float]:
        stop = self.options.should_stop
        model, config, team = self.model, self.config, self.team
        if isinstance(data, ObjectSet):
            return validate_prompts(model, config, data, team, picture, stop, steps)
        return validate(model, config, data, team, picture, stop, steps)

    def _score_few_steps(self, data: DataSet) -> None:
        for steps in range(1, self.config.model.distilled_steps + 1):
            picture = self.folder / "samples" / f"steps_{steps}.png"
            figures = self._figures(data, picture, steps)
            self._check_urgent()
            named = {f"{name}_steps_{steps}": value for name, value in figures.items()}
            logger.info("with %d ODE steps: %s", steps, named)
            self.position.metrics |= named

    def _save(self, loop: StageLoop | None = None) -> None:
        if not self.team.first:
            return
        if not self.folder.is_dir():
            # Only this process has the weights now: keep them rather than abort.
            logger.warning("%s is gone. It is created again, training continues.", self.folder)
            self._write_facts()
        config = self.config.to_json()
        signature = signature_of(signed_facts(self.options.out, config))
        run = with_signature(self._record, signature)
        optimizer, ema = (None, None) if loop is None else (loop.optimizer, loop.ema)
        save_checkpoint(self.folder, self.model, self.position, config, optimizer, ema, run)

    def _write_model(self) -> ModelCard:
        if self.position.written:
            # After a kill or a resume the card may already have a calibration.
            finished = finished_card(self.options.out)
            if finished is not None:
                return finished
        card = card_fields(
            self.options.card or {},
            portable(self.config),
            name=self.options.out.resolve().name,
            commands=self._record.commands,
            position=self.position,
            split=self.split,
            device=describe(self.device, self.dtype),
        )
        card["encoder"] = self._encoder_origin()
        if (self.folder / CARD).is_file():
            card = distilled_card(self.folder, card)
        written = save_model(self.options.out, self.model, card)
        if self.position.stage == DONE:
            # Only marks the run as finished for the next --resume.
            self.position.written = written.weights_sha256
            with not_essential(self.folder / FILE):
                self._save()
        return written

    def _encoder_origin(self) -> dict[str, str]:
        """Return the origin of the pretrained weights, also through a parent model."""
        if self.config.model.condition != "pretrained":
            return {}
        if self.options.init is not None:
            return dict(read_card(resolve_model(self.options.init)).encoder)
        return imagenet_origin(self.config.model.encoder)


def portable(config: Config) -> Config:
    """Return `config` without the paths of this machine, for model cards."""
    paths: dict[str, Any] = dict.fromkeys(("images", "masks", "folder", "split_file", "cache"))
    paths["sets"] = ()
    grouping = {"group_file": None, "group_column": None}
    data = config.data.model_copy(update={**paths, **grouping})
    return config.model_copy(update={"data": data})
