"""Fine-tune a copy of a model, and compare both."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from pydantic import TypeAdapter

from latentfm_core.config import Config
from latentfm_core.config.explain import reason_of
from latentfm_core.errors import Cancelled, CheckpointError, ConfigError, OutputError
from latentfm_core.files.atomic import write_text
from latentfm_core.files.untrusted import decoded_text, read_bounded
from latentfm_core.finetuning.compare import held_out_dice, held_out_pairs, judge
from latentfm_core.finetuning.messages import Doing, Event, Step, Validated, Verdict
from latentfm_core.finetuning.recipe import model_source
from latentfm_core.model_io.bundled import resolve_model
from latentfm_core.model_io.card import ModelCard, ParentInfo, read_card, write_card
from latentfm_core.model_io.file_names import CARD
from latentfm_core.names import counted
from latentfm_core.torchrun import read_launch
from latentfm_core.training.meters import EpochReport, StepReport, ignore
from latentfm_core.training.options import RunOptions
from latentfm_core.training.resuming import resumed_config
from latentfm_core.training.trainer import Trainer

logger = logging.getLogger(__name__)

FACTS = "learning.json"
VERDICT = "verdict.json"


@dataclass(frozen=True)
class ParentFacts:
    """Facts about the parent model, kept for resuming a run.

    Attributes
    ----------
    dice
        Dice of the parent on each held-out image.
    """

    id: str
    sha256: str
    title: str
    licence: str
    dice: tuple[float, ...]


def is_learning(out: Path) -> bool:
    """Return whether `out` contains a fine-tuning run, finished or not."""
    return (out / "training" / FACTS).is_file()


class FineTune:
    """Fine-tune a copy of a model on a few images, and compare both on held-out ones.

    A stopped run keeps its checkpoint; ``options.resume`` continues it, or `finish` makes a
    model of the best weights so far.

    Parameters
    ----------
    config
        As returned by `latentfm_core.finetuning.recipe.finetune_config`; None on resuming, to
        use that of the run.
    options
        ``init`` names the model to start from, ``out`` the folder of the new one.

    Raises
    ------
    ConfigError
        If no model is given, or several processes were started.
    OutputError
        If `out` already contains a model; the parent model is never modified.
    CheckpointError
        If there is nothing to resume.
    DatasetError
        If images and masks cannot be used.
    """

    def __init__(
        self,
        config: Config | None,
        options: RunOptions,
        on_event: Callable[[Event], None] = ignore,
    ) -> None:
        if read_launch().size > 1:
            raise ConfigError("Fine-tuning runs in one process: start it without torchrun.")
        self.out = options.out
        self._report = on_event
        self._stop = options.should_stop
        if options.resume and not is_learning(self.out):
            raise CheckpointError(f"{self.out} has no fine-tuning run to resume; start a new one.")
        self._parent = None if options.resume else self._choose_parent(options)
        if config is None:
            config = resumed_config(self.out)
        on_event(Doing(text="Reading images…"))
        source = None if self._parent is None else str(self._parent)
        chosen = replace(
            options, init=source, on_step=self._on_step, on_validation=self._on_validation
        )
        self.trainer = Trainer(config, chosen)

    def run(self) -> Verdict | None:
        """Train to completion; return None if stopped."""
        try:
            self._prepare()
            if self.trainer.run() is None:
                return None
            return self._judge()
        except Cancelled:
            return None

    def finish(self) -> Verdict | None:
        """Make a model of the best weights so far; None if stopped while comparing."""
        try:
            self._prepare()
            self.trainer.finish()
            return self._judge()
        except Cancelled:
            return None

    def _choose_parent(self, options: RunOptions) -> Path:
        if options.init is None:
            raise ConfigError("No model to start from. Choose a model folder or a bundled model.")
        parent = resolve_model(model_source(options.init))
        if (self.out / CARD).exists() or self.out.resolve() == parent.resolve():
            raise OutputError(
                f"{self.out} already contains a model, and models are not overwritten. Choose "
                "another name for the new one."
            )
        return parent

    def _prepare(self) -> None:
        """Evaluate the parent, if not done yet, and set its facts for the card."""
        self.trainer.claim()
        run = self.trainer.state
        file = run.folder / FACTS
        if self._parent is None:
            facts = _read_parent_facts(file)
            if len(facts.dice) != len(run.data.split.val):
                raise CheckpointError(
                    "Held-out images on which the old model was evaluated are missing. "
                    "Restore them, or start a new run."
                )
        else:
            facts = self._parent_facts(self._parent)
            write_text(file, json.dumps(asdict(facts), indent=1) + "\n")
        if facts.dice:
            self._report(Validated(step=0, dice=sum(facts.dice) / len(facts.dice)))
        run.options = replace(run.options, card=self._card(facts) | (run.options.card or {}))
        self._old = facts.dice
        count, held_out = len(run.data.split.train), len(run.data.split.val)
        images = counted(count, "image")
        self._report(Doing(text=f"Learning from {images}, {held_out} held out."))

    def _parent_facts(self, parent: Path) -> ParentFacts:
        card = read_card(parent)
        run = self.trainer.state
        pairs = held_out_pairs(run.config, run.data.split.val)
        if pairs:
            self._report(Doing(text=f"The old model on {counted(len(pairs), 'held-out image')}…"))
        dice = held_out_dice(parent, pairs, run.config, self._stop)
        return ParentFacts(card.id, card.weights_sha256, card.title or card.id, card.licence, dice)

    def _card(self, facts: ParentFacts) -> dict[str, object]:
        split = self.trainer.state.data.split
        n = len(split.train)
        return {
            "title": f"{facts.title[:150]}, fine-tuned on {counted(n, 'image')}",
            "description": (
                f"The flow of {facts.id} fine-tuned on "
                f"{counted(n, 'annotated image')}; {len(split.val)} more were held out to "
                f"compare both. The calibration of {facts.id} was fitted to other images and is "
                "omitted: the confidence is raw until latentfm-calibrate fits a new one."
            ),
            "licence": facts.licence,
            "parent": ParentInfo(id=facts.id, sha256=facts.sha256, n_images=n).model_dump(),
        }

    def _judge(self) -> Verdict:
        run = self.trainer.state
        pairs = held_out_pairs(run.config, run.data.split.val)
        if pairs:
            self._report(Doing(text=f"The new model on {counted(len(pairs), 'held-out image')}…"))
        new = held_out_dice(self.out, pairs, run.config, self._stop)
        verdict = judge(self._old, new)
        facts = verdict.model_dump(exclude={"kind"}) | {"better": verdict.better}
        text = json.dumps(facts, indent=1)
        write_text(run.folder / VERDICT, text + "\n")
        if verdict.old is not None and verdict.new is not None:
            self._update_card({"val_parent_dice": verdict.old, "val_held_out_dice": verdict.new})
        logger.info("%s", verdict.text())
        if verdict.better == "old":
            logger.warning(
                "The new model is not better than the one it started from. Keep that one."
            )
        return verdict

    def _update_card(self, figures: dict[str, float]) -> ModelCard:
        card = read_card(self.out)
        card = card.model_copy(update={"metrics": card.metrics | figures})
        write_card(self.out, card)
        return card

    def _on_step(self, report: StepReport) -> None:
        self._report(
            Step(
                step=report.step,
                total=report.total,
                loss=report.loss,
                seconds=report.seconds,
                seconds_left=report.seconds_left,
            )
        )

    def _on_validation(self, report: EpochReport) -> None:
        self._report(Validated(step=report.step, dice=report.validation["val_dice"]))


_PARENT_FACTS = TypeAdapter(ParentFacts)
_MAX_FACTS_BYTES = 4_000_000


def _read_parent_facts(path: Path) -> ParentFacts:
    try:
        return _PARENT_FACTS.validate_json(decoded_text(read_bounded(path, _MAX_FACTS_BYTES)))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged ({reason_of(error)}); start a new run.") from None
