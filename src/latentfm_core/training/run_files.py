"""Files of a training run: facts, checkpoint, and the model at the end."""

from __future__ import annotations

import json
import logging
from dataclasses import replace

from latentfm_core.datasets.splits import write_split
from latentfm_core.files.atomic import write_text
from latentfm_core.files.optional import best_effort
from latentfm_core.files.own_runs import signature_of
from latentfm_core.inference.device import describe
from latentfm_core.model_io.bundled import resolve_model
from latentfm_core.model_io.card import ModelCard
from latentfm_core.model_io.folder import save_model
from latentfm_core.training.checkpoint import DONE, FILE, save_checkpoint
from latentfm_core.training.distillation import (
    distilled_card,
    is_distillation,
    keep_domain,
    kept_parent,
    remember_parent,
)
from latentfm_core.training.loop import StageLoop
from latentfm_core.training.resuming import finished_card
from latentfm_core.training.run_card import card_fields, portable
from latentfm_core.training.run_record import signed_facts
from latentfm_core.training.run_state import RunState
from latentfm_core.training.trained_on import (
    CONFIG,
    write_parent_images,
    write_signatures,
    write_trained_on,
)

logger = logging.getLogger(__name__)


class RunFiles:
    """Writes the files of a run; only the first process calls it."""

    def __init__(self, run: RunState) -> None:
        self._run = run

    def write_facts(self) -> None:
        """Write the facts of the whole run; raise `OutputError`, as the others, if that fails."""
        run, folder = self._run, self._run.folder
        write_text(folder / CONFIG, json.dumps(run.config.to_json(), indent=2) + "\n")
        write_split(folder / "split.json", run.data.split)
        write_trained_on(folder, run.record.data.trained_on)
        write_signatures(folder, run.data.train, run.record.data.trained_on)
        write_parent_images(folder, run.parent_images)
        if not run.options.resume and run.options.init and is_distillation(run.config):
            remember_parent(folder, resolve_model(run.options.init))

    def save(self, loop: StageLoop | None = None) -> None:
        """Write a checkpoint, within a stage with the optimiser and averages of its loop."""
        run = self._run
        if not run.folder.is_dir():
            # Only this process has the weights now: keep them rather than abort.
            logger.warning("%s has disappeared. It is recreated; training continues.", run.folder)
            self.write_facts()
        config = run.config.to_json()
        facts = signed_facts(run.options.out, config, run.record.init)
        record = replace(run.record, signature=signature_of(facts))
        optimizer, ema = (None, None) if loop is None else (loop.optimizer, loop.ema)
        save_checkpoint(run.folder, run.model, run.position, config, optimizer, ema, record)

    def write_model(self) -> ModelCard:
        """Write the model and return its card."""
        run = self._run
        if run.position.written:
            # After a kill or a resume the card may already have a calibration.
            finished = finished_card(run.options.out)
            if finished is not None:
                return finished
        card = card_fields(
            run.options.card or {},
            portable(run.config),
            name=run.options.out.resolve().name,
            commands=run.record.commands,
            position=run.position,
            split=run.data.split,
            device=describe(run.device, run.dtype),
        )
        card["encoder"] = dict(run.record.encoder or {})
        parent = kept_parent(run.folder)
        if parent is not None:
            card = distilled_card(parent, card)
        written = save_model(run.options.out, run.model, card)
        if parent is not None:
            keep_domain(run.folder, parent, run.options.out, written.weights_sha256)
        if run.position.stage == DONE:
            # Only marks the run as finished for the next --resume.
            run.position.written = written.weights_sha256
            with best_effort(run.folder / FILE):
                self.save()
        return written
