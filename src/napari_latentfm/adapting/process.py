"""The process of an adaptation, followed by a thread."""

from __future__ import annotations

from collections.abc import Iterator

from psygnal import Signal

from latentfm_core.adaptation.messages import Command, Event, Start, event_from
from latentfm_core.worker import Failed
from napari_latentfm.background.child_process import ChildProcess, parsed, worker_command
from napari_latentfm.background.thread_task import ThreadTask

COMMAND = worker_command("latentfm_core.adaptation.worker")
PATIENCE = 60.0
"""Seconds within which a process whose input has ended must end."""


class AdaptationProcess:
    """One process; its signals are emitted in the GUI thread."""

    received = Signal(object)
    ended = Signal()

    def __init__(self, start: Start) -> None:
        self._process = ChildProcess(COMMAND, PATIENCE, low_priority=True)
        self.send(start)
        self._task = ThreadTask(self._follow)
        self._task.reported.connect(self.received.emit)
        self._task.ended.connect(self.ended.emit)
        self._task.start()

    def send(self, command: Command) -> None:
        """Send a command, or keep it until the process has begun."""
        self._process.send(command.to_line())

    def close(self) -> None:
        """Let the process end within one training step."""
        self._process.close()

    def abandon(self) -> None:
        """Close, and emit nothing more."""
        self.close()
        self.received.disconnect()
        self.ended.disconnect()
        self._task.quit()

    def _follow(self) -> Iterator[Event]:
        process, failed = self._process, False
        try:
            with process.running() as lines:
                for event in parsed(lines or (), event_from):
                    failed = failed or isinstance(event, Failed)
                    yield event
        except OSError as error:
            yield Failed(message=f"The process of the adaptation cannot be started: {error}.")
            return
        if process.code and not failed:
            yield Failed(
                message="The process of the adaptation ended unexpectedly (code "
                f"{process.code}), perhaps out of memory. Its output: {process.output}"
            )
