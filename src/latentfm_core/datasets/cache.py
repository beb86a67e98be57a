"""Decoded images and masks on disk, so that the next run need not decode them again.

A file of the folder holds one image and its masks on their canvases, and is named by what they
depend on: paths, sizes and times of the files, and the settings of the canvas. There is one
only where the user asks for it: these are copies of images that may be confidential.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from latentfm_core.config import DataConfig
from latentfm_core.datasets.pairs import Pair
from latentfm_core.errors import OutputError
from latentfm_core.files.temporary import new_file, remove_dead_once
from latentfm_core.files.untrusted import read_bounded

logger = logging.getLogger(__name__)

FORMAT = 2
"""Raise it whenever decoding or the canvas changes what comes out."""
SUFFIX = ".canvas"
LIMIT_BYTES = 20 * 2**30
"""What was not used for longest is removed beyond this."""

_CHECK = 4

UInt8 = NDArray[np.uint8]


@dataclass(frozen=True)
class CanvasCache:
    """Canvases of one side and one kind in a folder.

    Attributes
    ----------
    folder
        Where the files lie; others in it are left alone.
    data
        Gives `fit`, `mask_threshold` and the channel that is read.
    size
        Side of the canvas.
    classes
        Number of foreground classes of the masks.
    """

    folder: Path
    data: DataConfig
    size: int
    classes: int

    def prepare(self) -> None:
        """Make the folder, for this user's eyes only if it is new.

        Raises
        ------
        OutputError
            If that cannot be done.
        """
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            remove_dead_once(self.folder)
        except OSError as error:
            raise OutputError(
                f"Cannot keep decoded images in {self.folder}: {error.strerror or error}. Choose "
                "another --cache, or leave it out."
            ) from None

    def get(self, pair: Pair) -> tuple[UInt8, UInt8] | None:
        """Return image ``(S, S, 3)`` and masks ``(M, S, S)``, or None if they are not kept."""
        side, count = self.size, len(pair.masks)
        size = side * side * (3 + count)
        with contextlib.suppress(OSError, ValueError):
            path = self._path(pair)
            stored = np.frombuffer(read_bounded(path, size + _CHECK), np.uint8)
            os.utime(path)  # what is used is not what is removed
            values, check = stored[:-_CHECK], stored[-_CHECK:]
            if values.size == size and check.tobytes() == _check(values):
                image = values[: side * side * 3].reshape(side, side, 3)
                return image, values[side * side * 3 :].reshape(count, side, side)
        return None

    def put(self, pair: Pair, image: UInt8, masks: UInt8) -> None:
        """Keep an image and its masks; a full disk is no reason to stop."""
        values = np.concatenate([image.ravel(), masks.ravel()])
        temporary: Path | None = None
        try:
            path = self._path(pair)
            with new_file(path) as temporary:
                temporary.write_bytes(values.tobytes() + _check(values))
                # Not synced, which for thousands of files takes minutes: `get` checks what it
                # reads.
                os.replace(temporary, path)
        except OSError as error:
            logger.debug("%s is not kept: %s", pair.name, error)
            if temporary is not None:
                with contextlib.suppress(OSError):
                    temporary.unlink(missing_ok=True)

    def trim(self, limit: int = LIMIT_BYTES) -> None:
        """Remove what was not used for longest until at most `limit` bytes are left."""
        with contextlib.suppress(OSError):
            files = [(path, path.stat()) for path in self.folder.glob(f"*{SUFFIX}")]
            total = sum(state.st_size for _, state in files)
            for path, state in sorted(files, key=lambda file: file[1].st_mtime_ns):
                if total <= limit:
                    break
                path.unlink(missing_ok=True)
                total -= state.st_size

    def _path(self, pair: Pair) -> Path:
        files = [
            (str(path.resolve()), path.stat()) for path in (pair.image, *pair.channels, *pair.masks)
        ]
        facts = {
            "format": FORMAT,
            "size": self.size,
            "fit": self.data.fit,
            "threshold": self.data.mask_threshold,
            "classes": self.classes,
            "channel": self.data.reading.channel,
            "files": [(path, state.st_size, state.st_mtime_ns) for path, state in files],
        }
        digest = hashlib.sha256(json.dumps(facts).encode("utf-8", "surrogatepass")).hexdigest()
        return self.folder / f"{digest}{SUFFIX}"


def _check(values: UInt8) -> bytes:
    return zlib.crc32(values.tobytes()).to_bytes(_CHECK, "little")
