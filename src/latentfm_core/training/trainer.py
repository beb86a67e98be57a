"""A full training run: data, the stages in order, and the model folder."""

from __future__ import annotations

import json
from operator import attrgetter

from latentfm_core.config import Config, config_from_mapping
from latentfm_core.errors import FolderBusy, OutputError
from latentfm_core.model_io.card import ModelCard
from latentfm_core.training.checkpoint import DONE, FILE, read_header
from latentfm_core.training.distributed import join_processes
from latentfm_core.training.divergence import Diverged
from latentfm_core.training.ema import EMA
from latentfm_core.training.extending import MAY_CHANGE
from latentfm_core.training.options import RunOptions
from latentfm_core.training.preparation import check_start, prepare
from latentfm_core.training.resuming import changed_settings
from latentfm_core.training.run_files import RunFiles
from latentfm_core.training.run_folder import RunFolder
from latentfm_core.training.selection import take_best
from latentfm_core.training.stage_runner import run_stages
from latentfm_core.training.stages import STAGES, make_stage
from latentfm_core.training.validate import draft_card

__all__ = ["RunOptions", "Trainer"]


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
        If a stop was requested while images were read.
    """

    def __init__(self, config: Config, options: RunOptions) -> None:
        checkpoint, options = check_start(config, options)
        processes = join_processes(config.training.device)
        self._place = RunFolder(options.out, options.resume)
        if processes.first:
            self._place.claim_existing()
        try:
            self.state = prepare(config, options, checkpoint, processes)
        except BaseException:
            self._place.release()
            raise
        self._files = RunFiles(self.state)

    def run(self) -> ModelCard | None:
        """Train to the end and write the model folder.

        Rank 0 writes; other processes return when it has finished.

        Returns the card, or None if the run was stopped; its checkpoint is then saved.

        Raises
        ------
        ResourceError
            If another process of the run has stopped.
        OutputError
            If nothing can be written; the last checkpoint is still there.
        """
        processes = self.state.processes
        try:
            with processes.together():
                self.claim()
                if not run_stages(self.state, self._files):
                    return None
                card = (
                    self._files.write_model() if processes.first else draft_card(self.state.config)
                )
                processes.wait()
        except FolderBusy:
            raise
        except OutputError as error:
            raise OutputError(f"{error} {self._resume_advice()}") from error
        except Diverged as error:
            raise self._with_advice(error) from error
        finally:
            self._place.release()
        return card

    def finish(self) -> ModelCard:
        """Write the current model of a stopped run; the run can still be resumed.

        It has the best validated weights or, before the first validation, the latest
        averages.
        """
        self.claim()
        try:
            if not take_best(self.state.model, self.state.folder):
                self._take_averages()
            return self._files.write_model()
        finally:
            self._place.release()

    def claim(self) -> None:
        """Lock the folder for this run until `run` or `finish` ends.

        Raises
        ------
        OutputError
            If it cannot be created, or another process has it (`FolderBusy`).
        CheckpointError
            If another run was started there in the meantime.
        """
        if self.state.processes.first:
            self._place.claim()

    def close(self) -> None:
        """Release the folder without training."""
        self._place.release()

    def _take_averages(self) -> None:
        run = self.state
        if run.checkpoint is None or run.position.stage == DONE:
            return
        averages = EMA(make_stage(run.position.stage, run.model, run.config).parameters(), 0.0)
        run.checkpoint.restore_ema(averages)
        averages.copy_to_model()

    def _with_advice(self, error: Diverged) -> Diverged:
        rate = f"training.{error.stage}.learning_rate"
        setting = f"--set {rate}={error.learning_rate:g}"
        fold = self.state.config.data.fold
        if fold is not None and rate not in MAY_CHANGE:
            how = f"All folds have one rate: start all of them in another --out with {setting}."
        elif self._has_checkpoint():
            words = ["--resume", *([] if fold is None else [f"--fold {fold}"]), setting]
            words += [each for each in self._unsaved() if not each.startswith(f"--set {rate}=")]
            how = f"Resume from the last checkpoint, which is valid, with {' '.join(words)}."
        else:
            how = f"Start again with {setting}."
        return Diverged(f"{error} {how}", error.stage, error.learning_rate)

    def _unsaved(self) -> list[str]:
        """Return the settings of this run that its last checkpoint does not have."""
        config = self.state.config
        stored = config_from_mapping(read_header(self.state.folder).config)
        names = changed_settings(stored, config, STAGES)
        return [f"--set {name}={json.dumps(attrgetter(name)(config))}" for name in names]

    def _resume_advice(self) -> str:
        if not self._has_checkpoint():
            return "No checkpoint was written; start the run again."
        return "The last checkpoint is kept. After that, resume the run (latentfm-train: --resume)."

    def _has_checkpoint(self) -> bool:
        return (self.state.folder / FILE).is_file()
