"""Commands to a background adaptation and events from it, as lines of JSON; without PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from latentfm_core.config import ADAPTATION, READING, AdaptationConfig, ReadingConfig
from latentfm_core.names import counted
from latentfm_core.worker import Failed, Message


class Start(Message):
    """The first command: what to adapt, and to which work list.

    Attributes
    ----------
    model
        Name of a bundled model, or a model folder.
    """

    kind: Literal["start"] = "start"
    model: str
    images: Path
    output: Path
    config: AdaptationConfig = ADAPTATION
    limits: ReadingConfig = READING


class Accept(Message):
    """An image was accepted.

    Attributes
    ----------
    name, file
        File names of the image and of its annotation.
    """

    kind: Literal["accept"] = "accept"
    name: str
    file: str


class Pause(Message):
    """Pause before the next step, or continue."""

    kind: Literal["pause"] = "pause"
    paused: bool


class Undo(Message):
    """Discard everything that was learned."""

    kind: Literal["undo"] = "undo"


Command = Start | Accept | Pause | Undo


class Working(Message):
    """Adaptation is in progress."""

    kind: Literal["working"] = "working"
    seconds_left: float


class Adapted(Message):
    """An adapted model was saved, loaded or removed.

    Attributes
    ----------
    images, tests
        Number of images learned from, and of held-out tests.
    figures
        Dice of both models on held-out images; empty without tests.
    fewest
        Number of tests needed for a decision.
    """

    kind: Literal["adapted"] = "adapted"
    images: int
    tests: int
    used: bool
    figures: str = ""
    fewest: int = ADAPTATION.fewest

    def text(self) -> str:
        """Return the state as one line."""
        if not self.images:
            return "Accept images to adapt the model to them."
        images = "1 of your images" if self.images == 1 else f"{self.images} of your images"
        if self.used:
            return f"Adapted to {images}: held-out Dice {self.figures}"
        if self.tests < self.fewest:
            missing = self.fewest - self.tests
            more = counted(missing, "more image")
            return f"Learned from {images}. Not used yet: accept {more} to compare the models."
        return f"Not used: no clear gain on held-out images yet (Dice {self.figures})"


class Skipped(Message):
    """An accepted image cannot be used for adaptation."""

    kind: Literal["skipped"] = "skipped"
    name: str
    reason: str


Event = Working | Adapted | Skipped | Failed

_COMMANDS: TypeAdapter[Command] = TypeAdapter(Annotated[Command, Field(discriminator="kind")])
_EVENTS: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="kind")])


def command_from(line: str) -> Command:
    """Return the command of a line; raise `ValueError` if it is not one."""
    return _COMMANDS.validate_json(line)


def event_from(line: str) -> Event:
    """Return the event of a line; raise `ValueError` if it is not one."""
    return _EVENTS.validate_json(line)
