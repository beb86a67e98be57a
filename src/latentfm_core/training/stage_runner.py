"""Run the stages of a training one after the other, from the position of the run to its end."""

from __future__ import annotations

import time

from latentfm_core.colours import picture_colours
from latentfm_core.errors import Cancelled
from latentfm_core.training.checkpoint import DONE
from latentfm_core.training.loop import Hooks, StageLoop
from latentfm_core.training.meters import EpochReport
from latentfm_core.training.run_card import portable
from latentfm_core.training.run_files import RunFiles
from latentfm_core.training.run_state import RunState
from latentfm_core.training.runlog import RunLog
from latentfm_core.training.selection import epoch_picture, validate_epoch
from latentfm_core.training.stage_ending import end_stage
from latentfm_core.training.stages import make_stage
from latentfm_core.training.validation_time import plan_validation


def run_stages(run: RunState, files: RunFiles) -> bool:
    """Train the remaining stages; return False if stopped, with a checkpoint."""
    log = None
    if run.processes.first:
        files.write_facts()
        log = _open_log(run)
    runner = StageRunner(run, files, log)
    try:
        while run.position.stage != DONE:
            if not runner.run_stage():
                return False
    finally:
        if log is not None:
            log.close()
    return True


def _open_log(run: RunState) -> RunLog:
    name, settings = run.options.out.resolve().name, portable(run.config).to_json()
    resumed = run.checkpoint is not None
    loggers = run.options.tracking.open(run.folder, name, settings, resumed=resumed)
    model = run.config.model
    colours = picture_colours(len(model.classes), model.class_colours)
    classes = dict(zip(model.classes, colours, strict=True))
    return RunLog(run.folder, run.position, loggers, classes)


class StageRunner:
    """Runs the current stage: its steps, the validation of its epochs, and its end."""

    def __init__(self, run: RunState, files: RunFiles, log: RunLog | None) -> None:
        self._run, self._files, self._log = run, files, log

    def run_stage(self) -> bool:
        """Train the current stage and go to the next one; return False if stopped."""
        run = self._run
        if self._is_absent():
            return self._end(None)
        loop = self._loop()
        try:
            if run.position.stage == "flow":
                plan_validation(run)
        except Cancelled:
            self._save(loop)
            return False
        options = run.options
        hooks = Hooks(
            options.should_stop, self._save, self._end_epoch, options.on_step, options.urgent
        )
        if not loop.run(hooks, run.config.training.checkpoint_minutes * 60):
            return False
        if loop.ema is not None:
            loop.ema.copy_to_model()
        return self._end(loop)

    def _is_absent(self) -> bool:
        run, stage = self._run, self._run.position.stage
        if stage == "image_vae":
            return run.model.image_vae is None
        return stage == "distill" and not run.config.model.distilled_steps

    def _loop(self) -> StageLoop:
        run, position = self._run, self._run.position
        stage = make_stage(position.stage, run.model, run.config)
        if not position.step:
            stage.begin()
        loop = StageLoop(stage, run.data.train, position, run.processes, run.dtype)
        if run.checkpoint is not None and run.checkpoint.position.stage == position.stage:
            loop.restore(run.checkpoint)
        run.checkpoint = None
        return loop

    def _end(self, loop: StageLoop | None) -> bool:
        start = time.monotonic()
        try:
            end_stage(self._run)
        except Cancelled:
            # The checkpoint is from the last step; the resumed run does what was left out.
            self._save(loop)
            return False
        self._run.position.outside += time.monotonic() - start
        self._save(None)
        return True

    def _end_epoch(self, loop: StageLoop, report: EpochReport) -> None:
        validate_epoch(self._run, loop, report)
        if self._log is not None:
            self._log.add(report, self._run.picture(epoch_picture(report)))

    def _save(self, loop: StageLoop | None) -> None:
        if self._run.processes.first:
            self._files.save(loop)
