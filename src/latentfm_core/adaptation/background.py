"""The loop of a background adaptation: carries out commands, and trains in between."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace

import numpy as np

from latentfm_core.adaptation.messages import (
    Accept,
    Adapted,
    Command,
    Event,
    Pause,
    Skipped,
    Start,
    Undo,
    Working,
)
from latentfm_core.adaptation.record import AdaptationFolder
from latentfm_core.adaptation.session import AcceptedImage, AdaptationSession
from latentfm_core.annotation.reading import read_annotation
from latentfm_core.errors import ImageError, OutputError, ResourceError
from latentfm_core.images.read import read_image
from latentfm_core.names import is_path

RESTORED = 24
"""Images of an earlier session whose features are computed again, the last ones first."""


class Inbox:
    """Commands from another thread."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[Accept | Undo] = deque()
        self._paused = False
        self.stopped = False

    def put(self, command: Command) -> None:
        """Receive a command."""
        with self._changed:
            if isinstance(command, Pause):
                self._paused = command.paused
            elif isinstance(command, Undo):
                # Images accepted before are forgotten, whether learned or not.
                self._waiting.clear()
                self._waiting.append(command)
            elif isinstance(command, Accept):
                self._waiting.append(command)
            self._changed.notify_all()

    def stop(self) -> None:
        """End the loop within one step."""
        with self._changed:
            self.stopped = True
            self._changed.notify_all()

    def take(self) -> Accept | Undo | None:
        """Return the next command, or None."""
        with self._changed:
            return self._waiting.popleft() if self._waiting else None

    @property
    def interrupts(self) -> bool:
        """Whether training must end for a command."""
        with self._changed:
            return bool(self._waiting) or self.stopped

    @property
    def is_undone(self) -> bool:
        """Whether an undo is pending."""
        with self._changed:
            return any(isinstance(each, Undo) for each in self._waiting)

    def wait_while_paused(self) -> None:
        """Block while paused."""
        with self._changed:
            self._changed.wait_for(lambda: not self._paused or self.stopped)

    def wait_for_command(self) -> None:
        """Block until there is a command, or the end."""
        with self._changed:
            self._changed.wait_for(lambda: bool(self._waiting) or self.stopped)


def run(start: Start, inbox: Inbox, emit: Callable[[Event], None]) -> None:
    """Adapt a model to the accepted images of a work list until the inbox is stopped.

    Raises
    ------
    LatentFMError
        If the model cannot be used, another window adapts one for this list, or files cannot be
        written.
    """
    folder = AdaptationFolder(start.output)
    session = AdaptationSession(start.model, start.config)
    with folder.writing():
        _Loop(start, session, folder, inbox, emit).run()


class _Loop:
    def __init__(
        self,
        start: Start,
        session: AdaptationSession,
        folder: AdaptationFolder,
        inbox: Inbox,
        emit: Callable[[Event], None],
    ) -> None:
        self._start, self._session, self._folder = start, session, folder
        self._inbox, self._emit = inbox, emit
        self._to_restore = False

    def run(self) -> None:
        self._to_restore = self._session.load(self._folder)
        self._announce()
        while not self._inbox.stopped:
            command = self._inbox.take()
            if isinstance(command, Undo):
                self._undo()
            elif command is not None:
                self._accept(command)
            elif self._session.due > 0:
                self._train()
            else:
                self._inbox.wait_for_command()

    def _announce(self) -> None:
        comparison, record = self._session.comparison, self._session.record
        figures = comparison.figures() if comparison.n_tests else ""
        self._emit(
            Adapted(
                images=len(record.images),
                tests=comparison.n_tests,
                used=record.used,
                figures=figures,
                fewest=self._start.config.fewest,
            )
        )

    def _undo(self) -> None:
        self._session.undo()
        self._folder.discard()
        # An empty record: images accepted so far are not learned again at the next start.
        self._folder.write(self._session.record)
        self._to_restore = False
        self._announce()

    def _accept(self, command: Accept) -> None:
        try:
            accepted = read_accepted(self._start, command.name, command.file)
        except (ImageError, OutputError, ResourceError) as error:
            self._emit(Skipped(name=command.name, reason=str(error)))
            return
        self._emit(Working(seconds_left=self._session.due + self._start.config.seconds))
        self._follow(self._session.accept(accepted))
        if self._to_restore and not self._inbox.is_undone:
            self._to_restore = False
            self._restore()

    def _restore(self) -> None:
        """Compute features of images of an earlier session again."""
        for known in reversed(self._session.record.images[-RESTORED:]):
            if self._inbox.is_undone or self._inbox.stopped:
                return
            try:
                accepted = read_accepted(self._start, known.name, known.file)
            except (ImageError, OutputError, ResourceError):
                continue  # it was removed; the adapted model has learned from it all the same
            self._follow(self._session.restore(accepted))

    def _train(self) -> None:
        before, shown = self._session.learner.steps, math.inf
        with closing(self._session.train()) as steps:
            for _ in steps:
                if shown - self._session.due >= 1:
                    shown = self._session.due
                    self._emit(Working(seconds_left=shown))
                if self._inbox.interrupts:
                    break
                self._inbox.wait_while_paused()
        if self._session.learner.steps > before and not self._inbox.is_undone:
            self._session.save(self._folder)
            self._announce()

    def _follow(self, steps: Iterator[object]) -> None:
        for _ in steps:
            if self._inbox.is_undone or self._inbox.stopped:
                return
            self._inbox.wait_while_paused()


def read_accepted(start: Start, name: str, file: str) -> AcceptedImage:
    """Read an accepted image of a work list and its annotation.

    Raises
    ------
    ImageError
        If they cannot be read, or are not of one plane and the same size.
    OutputError, ResourceError
        As `read_annotation` does.
    """
    if is_path(name) or is_path(file):
        raise ImageError("The names of an accepted image and its annotation are not file names.")
    image = read_image(start.images / name, start.limits)
    labels, _ = read_annotation(start.output / file, start.limits)
    labels = np.squeeze(labels)
    if labels.shape != image.pixels.shape[:2]:
        raise ImageError(
            f"The annotation of {name} has {labels.shape} pixels, the image "
            f"{image.pixels.shape[:2]}. Only images of one plane are used for adaptation."
        )
    return AcceptedImage(replace(image, name=name), labels, file)
