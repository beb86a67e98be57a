"""Threaded reading keeps the order and does not delay Ctrl+C."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading

import pytest

from latentfm_core.datasets.reading_threads import in_threads
from tests.helpers.processes import PATIENCE, environment

BLOCKED = """
import signal
import threading
from latentfm_core.datasets.reading_threads import in_threads

signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it

def read(number):
    print("reading", flush=True)
    threading.Event().wait()  # a file that takes forever

for _ in in_threads(read, 3, 2):
    pass
"""


def test_results_come_in_order() -> None:
    first_may_end = threading.Event()

    def work(number: int) -> int:
        if number == 0:
            first_may_end.wait()
        if number == 5:
            first_may_end.set()
        return number * number

    assert list(in_threads(work, 10, 3)) == [number * number for number in range(10)]
    assert list(in_threads(work, 0, 3)) == []


def test_an_error_is_raised_and_ends_the_work() -> None:
    def work(number: int) -> int:
        if number == 3:
            raise MemoryError("too large")
        return number

    with pytest.raises(MemoryError, match="too large"):
        list(in_threads(work, 1000, 2))


def test_running_reads_finish_before_an_error_ends_the_command() -> None:
    ended = []

    def work(number: int) -> None:
        if number == 0:
            raise MemoryError("too large")
        threading.Event().wait(0.3)  # PyTorch would abort if Python ended here
        ended.append(number)

    with pytest.raises(MemoryError):
        list(in_threads(work, 2, 2))
    assert ended == [1]


def test_a_busy_thread_does_not_delay_ctrl_c() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", BLOCKED], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=environment(),
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline().startswith("reading"), "another thread may write as well"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=PATIENCE)
    assert "KeyboardInterrupt" in errors
