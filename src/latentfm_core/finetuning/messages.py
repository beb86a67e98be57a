"""What a learning run tells while it goes on; no PyTorch, so that a window may import it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

Better = Literal["new", "old", "unknown"]


@dataclass(frozen=True)
class Doing:
    """What is going on, for people."""

    text: str


@dataclass(frozen=True)
class Step:
    """A training step is over; seconds are those of the training alone."""

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
    """The old and the new model on the held-out images, sampled with the same settings.

    The new model is the best of its validations on the very same images, so that its figure
    is a little too good; `n_better` of few images says more than a small difference.

    Attributes
    ----------
    old, new
        Mean Dice of the mean mask; None if no image was held out.
    n_held_out
        Images held out.
    n_better
        On how many of them the new model has the higher Dice.
    """

    old: float | None
    new: float | None
    n_held_out: int
    n_better: int

    @property
    def better(self) -> Better:
        """Which model to keep; the old one when both are equal."""
        if self.old is None or self.new is None:
            return "unknown"
        return "new" if self.new > self.old else "old"

    def text(self) -> str:
        """Return the verdict in one line."""
        if self.old is None or self.new is None:
            return "No image was held out, so that nothing tells which model is better."
        images = (
            "1 held-out image" if self.n_held_out == 1 else f"{self.n_held_out} held-out images"
        )
        return (
            f"Dice: old {self.old:.3f}, new {self.new:.3f} on {images} "
            f"(new better on {self.n_better})."
        )


@dataclass(frozen=True)
class Stopped:
    """The run was stopped; `resumable` if a checkpoint was kept."""

    resumable: bool


@dataclass(frozen=True)
class Failed:
    """The run cannot go on; the message is for people."""

    message: str


Event = Doing | Step | Validated | Verdict | Stopped | Failed

_KINDS: dict[str, type[Any]] = {
    kind.__name__: kind for kind in (Doing, Step, Validated, Verdict, Stopped, Failed)
}


def to_line(event: Event) -> str:
    """Return an event as one line of JSON, without the line's end."""
    return json.dumps({"kind": type(event).__name__, **asdict(event)})


def from_line(line: str) -> Event:
    """Return the event of a line.

    Raises
    ------
    ValueError
        If the line is no event.
    """
    values = json.loads(line)
    kind = _KINDS.get(values.pop("kind", "")) if isinstance(values, dict) else None
    if kind is None or set(values) != {field.name for field in fields(kind)}:
        raise ValueError(f"{line[:80]!r} is no event of a learning run")
    event: Event = kind(**values)
    return event
