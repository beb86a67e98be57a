"""Progress messages of a fine-tuning run; without PyTorch, so that the GUI can import them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from latentfm_core.names import counted
from latentfm_core.worker import Failed, Message

Better = Literal["new", "old", "unknown"]


class Doing(Message):
    """Status text for the user."""

    kind: Literal["doing"] = "doing"
    text: str


class Step(Message):
    """A completed training step; seconds exclude everything but training."""

    kind: Literal["step"] = "step"
    step: int
    total: int
    loss: float
    seconds: float
    seconds_left: float


class Validated(Message):
    """Mean Dice of the held-out images after `step` steps; step 0 is the old model."""

    kind: Literal["validated"] = "validated"
    step: int
    dice: float


class Verdict(Message):
    """Comparison of the old and the new model on held-out images with the same settings.

    The same images select the new model's best epoch, so its score is slightly optimistic; with
    few images, `n_better` is more informative than a small difference.

    Attributes
    ----------
    old, new
        Mean Dice of the mean mask; None if no image was held out.
    n_better
        Number of held-out images on which the new model has the higher Dice.
    """

    kind: Literal["verdict"] = "verdict"
    old: float | None
    new: float | None
    n_held_out: int
    n_better: int

    @property
    def better(self) -> Better:
        """The model to keep; the old one if both are equal."""
        if self.old is None or self.new is None:
            return "unknown"
        return "new" if self.new > self.old else "old"

    def text(self) -> str:
        """Return the verdict as one line."""
        if self.old is None or self.new is None:
            return "No image was held out, so the models cannot be compared."
        images = counted(self.n_held_out, "held-out image")
        return (
            f"Dice: old {self.old:.3f}, new {self.new:.3f} on {images} "
            f"(new better on {self.n_better})."
        )


class Stopped(Message):
    """A stopped run; `resumable` if a checkpoint was kept."""

    kind: Literal["stopped"] = "stopped"
    resumable: bool


Event = Doing | Step | Validated | Verdict | Stopped | Failed

_EVENTS: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="kind")])


def event_from(line: str) -> Event:
    """Return the event of a line; raise `ValueError` if it is not one."""
    return _EVENTS.validate_json(line)
