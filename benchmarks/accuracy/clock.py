"""Which seconds a budget counts: those of the wall, or those of the processor."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from unittest.mock import patch

from benchmarks.accuracy import loop as baselines
from benchmarks.accuracy.settings import Clock
from latentfm_core.training import loop as presets


@contextmanager
def counting(clock: Clock) -> Iterator[None]:
    """Let both training loops count the seconds of `clock`.

    With one thread the processor's seconds are those of a core of one's own, whatever else the
    machine does meanwhile. The package itself counts the wall's, by which users live.
    """
    if clock == "wall":
        yield
        return
    processor = SimpleNamespace(monotonic=time.process_time, perf_counter=time.perf_counter)
    with patch.object(baselines, "time", processor), patch.object(presets, "time", processor):
        yield
