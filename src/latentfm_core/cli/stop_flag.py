"""Signals that ask a training to save and stop."""

from __future__ import annotations

import logging
import signal
from types import FrameType

from latentfm_core.cli.common import NOTICE

# The name of the command's module, whatever starts it.
logger = logging.getLogger("latentfm_core.cli.train")


class StopFlag:
    """Turns Ctrl+C, SIGTERM and SIGHUP into a request to save and stop.

    Before `begin` there is nothing to save, and a signal ends the command at once. Afterwards
    only a second Ctrl+C does.

    Parameters
    ----------
    launched
        Whether a launcher controls this process. It forwards Ctrl+C, sometimes more than once,
        and kills processes that do not exit.
    """

    def __init__(self, launched: bool = False) -> None:
        self.stopped = False
        self._launched = launched
        self._training = False

    def install(self) -> None:
        """Install the handlers; a SIGHUP ignored by ``nohup`` stays ignored."""
        signal.signal(signal.SIGINT, self._handle)
        signal.signal(signal.SIGTERM, self._handle)
        hangup = getattr(signal, "SIGHUP", None)
        if hangup is not None and signal.getsignal(hangup) != signal.SIG_IGN:
            signal.signal(hangup, self._handle)

    def begin(self) -> None:
        """Save before stopping, from now on."""
        self._training = True

    def _handle(self, number: int, frame: FrameType | None) -> None:
        # A closing terminal sends several signals; only a second Ctrl+C is a person's decision.
        again = self.stopped and number == signal.SIGINT and not self._launched
        if again or not self._training:
            raise KeyboardInterrupt
        if not self.stopped:
            at_once = "" if self._launched else "; press Ctrl+C again to stop without saving"
            logger.log(NOTICE, "Saving, then stopping%s.", at_once)
        self.stopped = True

    def __call__(self) -> bool:
        """Return whether a stop was requested."""
        return self.stopped
