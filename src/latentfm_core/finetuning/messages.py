"""Progress messages of a fine-tuning run; without PyTorch, so that the GUI can import them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

Better = Literal["new", "old", "unknown"]


@dataclass(frozen=True)
class Doing:
    """Status text for the user."""

    text: str


@dataclass(frozen=True)
class Step:
    """A completed training step; seconds exclude everything but training."""

    step: int
    total: int
    loss: float
    seconds: float
    seconds_left: float


@dataclass(frozen=True)
class Validated:
    """Mean Dice of the held-out images after `step` steps; step 0 is the old model."""

    step: int
    dice: float


@dataclass(frozen=True)
class Verdict:
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
        images = (
            "1 held-out image" if self.n_held_out == 1 else f"{self.n_held_out} held-out images"
        )
        return (
            f"Dice: old {self.old:.3f}, new {self.new:.3f} on {images} "
            f"(new better on {self.n_better})."
        )


@dataclass(frozen=True)
class Stopped:
    """A stopped run; `resumable` if a checkpoint was kept."""

    resumable: bool


@dataclass(frozen=True)
class Failed:
    """A failed run, with a message for the user."""

    message: str


Event = Doing | Step | Validated | Verdict | Stopped | Failed

_KINDS: dict[str, type[Any]] = {
    kind.__name__: kind for kind in (Doing, Step, Validated, Verdict, Stopped, Failed)
}


def to_line(event: Event) -> str:
    """Return an event as one line of JSON, without a newline."""
    return json.dumps({"kind": type(event).__name__, **asdict(event)})


def from_line(line: str) -> Event:
    """Return the event of a line; raise `ValueError` if it is not one."""
    values = json.loads(line)
    kind = _KINDS.get(values.pop("kind", "")) if isinstance(values, dict) else None
    if kind is None or set(values) != {field.name for field in fields(kind)}:
        raise ValueError(f"{line[:80]!r} is not an event of a fine-tuning run")
    event: Event = kind(**values)
    return event
