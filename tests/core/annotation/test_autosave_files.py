"""Autosaved annotations survive a killed process."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from latentfm_core.annotation import autosave as autosave_module
from latentfm_core.annotation import marks as marks_module
from latentfm_core.annotation.autosave import ROTATIONS, AutosaveStore
from latentfm_core.annotation.fingerprint import image_signature
from latentfm_core.annotation.marks import MarkedObject, MarkStore, StoredMarks
from latentfm_core.errors import OutputError
from latentfm_core.images import signature as signature_module
from tests.helpers.annotations import SIGN, info, labels_of

# --- signature ----------------------------------------------------------------------------


def test_signature_identifies_an_image_by_its_pixels() -> None:
    image = np.random.default_rng(0).integers(0, 255, (30, 40, 3), np.uint8)
    assert image_signature(image) == image_signature(image.copy()[...])
    other = image.copy()
    other[29, 39, 2] ^= 1
    assert image_signature(other) != image_signature(image)
    assert image_signature(image.reshape(40, 30, 3)) != image_signature(image)
    assert image_signature(image.view(np.int8)) != image_signature(image)
    assert image_signature(image.astype(">u2")) == image_signature(image.astype("<u2"))


class Lazy:
    """An array that counts what was read of it."""

    def __init__(self, values: np.ndarray) -> None:
        self.values, self.shape, self.dtype = values, values.shape, values.dtype
        self.largest = self.total = 0

    def __getitem__(self, index: tuple[slice, ...]) -> np.ndarray:
        part = self.values[index]
        self.largest, self.total = max(self.largest, part.nbytes), self.total + part.nbytes
        return part


def test_large_and_lazy_images_are_never_read_entirely(monkeypatch: pytest.MonkeyPatch) -> None:
    stack = np.random.default_rng(0).integers(0, 255, (40, 512, 512), np.uint8)
    whole = Lazy(stack)
    monkeypatch.setattr(signature_module, "SLAB_BYTES", 2**20)
    assert image_signature(whole) == image_signature(stack)
    assert whole.total == stack.nbytes
    assert whole.largest <= 2**20
    monkeypatch.setattr(signature_module, "WHOLE_BYTES", 2**20)
    sampled = Lazy(stack)
    first = image_signature(sampled)
    assert first == image_signature(stack)
    assert sampled.total <= 64 * 2**16 < stack.nbytes
    stack[0, 0, 0] ^= 1
    assert image_signature(stack) != first
    stack[0, 0, 0] ^= 1
    stack[-1, -1, -1] ^= 1
    assert image_signature(stack) != first


# --- autosave -----------------------------------------------------------------------------


def test_the_newest_of_three_states_is_restored(tmp_path: Path) -> None:
    store = AutosaveStore(tmp_path)
    for value in range(1, 6):
        store.save(SIGN, labels_of(value), info(strokes=value, seconds=1.5))
    states = store.history(SIGN)
    assert [state.info.strokes for state in states] == [5, 4, 3]
    assert len(list((tmp_path / SIGN).iterdir())) == 2 * ROTATIONS
    newest = store.newest(SIGN)
    assert newest is not None
    np.testing.assert_array_equal(newest.labels(), labels_of(5))
    assert newest.info.seconds == 1.5
    assert store.newest("cd" * 16) is None


@pytest.mark.parametrize("what", ["tif cut", "tif bit", "tif gone", "json cut", "json gone"])
def test_damaged_newest_falls_back_to_the_older(tmp_path: Path, what: str) -> None:
    store = AutosaveStore(tmp_path)
    for value in (1, 2):
        store.save(SIGN, labels_of(value), info(strokes=value))
    kind, damage = what.split()
    file = store.history(SIGN)[0].file.with_suffix(f".{kind}")
    content = bytearray(file.read_bytes())
    if damage == "gone":
        file.unlink()
    elif damage == "cut":
        file.write_bytes(content[: len(content) // 2])
    else:
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    found = store.newest(SIGN)
    assert found is not None
    assert found.info.strokes == 1
    np.testing.assert_array_equal(found.labels(), labels_of(1))
    store.save(SIGN, labels_of(3), info(strokes=3))
    newest = store.newest(SIGN)
    assert newest is not None
    assert newest.info.strokes == 3


def test_a_second_window_does_not_evict_states_of_the_first(tmp_path: Path) -> None:
    store = AutosaveStore(tmp_path)
    store.save(SIGN, labels_of(9), info(strokes=9), "00000001")
    for value in range(1, 9):
        store.save(SIGN, labels_of(value), info(strokes=value), "00000002")
    assert [state.info.strokes for state in store.history(SIGN)] == [8, 7, 6, 9]
    store.discard(SIGN, keep="00000002")
    assert [state.info.strokes for state in store.history(SIGN)] == [8, 7, 6]
    store.discard(SIGN)
    assert store.newest(SIGN) is None


def test_exported_states_are_moved_aside_not_deleted(tmp_path: Path) -> None:
    store = AutosaveStore(tmp_path)
    store.save(SIGN, labels_of(1), info())
    store.finish(SIGN)
    assert store.newest(SIGN) is None
    (done,) = (tmp_path / "done").iterdir()
    assert len(list(done.glob("*.tif"))) == 1
    store.finish(SIGN)
    store.save(SIGN, labels_of(2), info())
    assert store.newest(SIGN) is not None


def test_a_state_is_saved_while_another_window_finishes_the_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, other = AutosaveStore(tmp_path), AutosaveStore(tmp_path)
    genuine = autosave_module.write_text

    def write(path: Path, text: str) -> None:
        genuine(path, text)
        other.finish(SIGN)

    monkeypatch.setattr(autosave_module, "write_text", write)
    store.save(SIGN, labels_of(1), info())
    assert store.history(SIGN) == ()


@pytest.mark.parametrize("name", ["../../etc", "", "AB" * 16, "ab" * 15])
def test_untrusted_names_cannot_form_paths(tmp_path: Path, name: str) -> None:
    with pytest.raises(OutputError):
        AutosaveStore(tmp_path / "in").save(name, labels_of(1), info())
    with pytest.raises(OutputError):
        AutosaveStore(tmp_path / "in").discard(name)
    assert list(tmp_path.iterdir()) == []


_SAVING = """
import os, sys
from pathlib import Path
import numpy as np
from latentfm_core.annotation.autosave import AutosaveStore
from latentfm_core.annotation.provenance import AnnotationSidecar
def print_line(*words):
    # Whole lines at once: print without a buffer may be killed, or interrupted, within one.
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())
def save_for_ever(start):
    store = AutosaveStore(Path(sys.argv[1]))
    for step in range(start, start + 100000):
        labels = np.random.default_rng(step).integers(0, 3, (400, 500), np.uint8)
        info = AnnotationSidecar(image="a.png", shape=(400, 500), axes="YX", strokes=step)
        store.save("ab" * 16, labels, info)
        print_line(step)
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        save_for_ever(int(line))
    print_line("child", child)
    os.waitpid(child, 0)
    print_line("dead")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_the_last_state_survives_a_kill_at_any_moment(tmp_path: Path) -> None:
    chance = random.Random(0)
    store = AutosaveStore(tmp_path)
    command = [sys.executable, "-W", "ignore", "-c", _SAVING, str(tmp_path)]
    pipe, start = subprocess.PIPE, 0
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for _ in range(40):
            process.stdin.write(f"{start}\n")
            process.stdin.flush()
            child, output = 0, list[int]()
            # Killed at some moment while it saves again.
            while not child or len(output) < 2:
                word, _, rest = process.stdout.readline().strip().partition(" ")
                child, output = (
                    (int(rest), output) if word == "child" else (child, [*output, int(word)])
                )
            time.sleep(chance.uniform(0, 0.03))
            os.kill(child, signal.SIGKILL)
            output += [int(line) for line in iter(process.stdout.readline, "dead\n")]
            newest = store.newest(SIGN)
            assert newest is not None
            # Everything reported as saved exists.
            assert newest.info.strokes >= output[-1]
            start = newest.info.strokes
            expected = np.random.default_rng(start).integers(0, 3, (400, 500), np.uint8)
            np.testing.assert_array_equal(newest.labels(), expected)
            start += 1
        process.stdin.close()
    assert start >= 80
    for file in (tmp_path / SIGN).iterdir():
        os.utime(file, (0, 0))
    store.save(SIGN, labels_of(1), info())
    assert not [file for file in (tmp_path / SIGN).iterdir() if file.name.startswith(".")]


# --- marks of objects that were not taken ---------------------------------------------------


def test_marks_are_kept_until_all_are_deleted(tmp_path: Path) -> None:
    store, sign = MarkStore(tmp_path / "marks"), "ab" * 16
    assert store.read(sign) is None
    box = MarkedObject(number=2, index=(None, None), box=(1.5, 2, 30, 40), positive=((3, 4),))
    store.save(sign, StoredMarks(objects=(box,)))
    again = store.read(sign)
    assert again is not None
    assert again.objects == (box,)
    assert [file.name for file in store.folder.iterdir()] == [f"{sign}.json"]
    store.save(sign, StoredMarks())
    assert store.read(sign) is None
    assert not any(store.folder.iterdir())


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff", b"[]", b'{"objects": [{"number": 300, "index": [null, null]}]}', b'{"kind": 1}'],
)
def test_damaged_marks_are_ignored_and_replaced(tmp_path: Path, content: bytes) -> None:
    store, sign = MarkStore(tmp_path), "cd" * 16
    (tmp_path / f"{sign}.json").write_bytes(content)
    assert store.read(sign) is None
    marks = StoredMarks(objects=(MarkedObject(number=1, index=(None, None), box=(0, 0, 2, 2)),))
    store.save(sign, marks)
    assert store.read(sign) == marks


def test_marks_of_the_most_recent_images_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(marks_module, "KEPT", 2)
    store = MarkStore(tmp_path)
    marks = StoredMarks(objects=(MarkedObject(number=1, index=(None, None), box=(0, 0, 2, 2)),))
    for second, sign in enumerate(("1" * 32, "2" * 32, "3" * 32)):
        store.save(sign, marks)
        os.utime(tmp_path / f"{sign}.json", (second, second))
    store.save("4" * 32, marks)
    assert {file.stem[0] for file in tmp_path.iterdir()} == {"3", "4"}
    with pytest.raises(OutputError, match="signature"):
        store.save("../evil", marks)
