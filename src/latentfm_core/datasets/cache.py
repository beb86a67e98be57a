"""On-disk cache of decoded images and masks.

Each file contains one image and its masks on their canvases, and is named by a hash of the files'
paths, sizes and times, the raters of the masks and the canvas settings. Only created on request,
because these are copies of images that may be confidential.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import zlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from latentfm_core.config import DataConfig
from latentfm_core.datasets.pairs import Pair
from latentfm_core.datasets.stored import StoredPair
from latentfm_core.errors import OutputError
from latentfm_core.files.temporary import new_file, remove_dead_once
from latentfm_core.files.untrusted import read_bounded
from latentfm_core.images.orientation import provenance_places

logger = logging.getLogger(__name__)

FORMAT = 10
"""Increase it whenever decoding or the canvas changes the output, or `StoredPair` its fields."""
SUFFIX = ".canvas"
LIMIT_BYTES = 20 * 2**30
"""Above this size, the least recently used files are removed."""

_CHECK = 4
_LARGEST_NOTE = 2**16

UInt8 = NDArray[np.uint8]
_STORED = TypeAdapter(StoredPair)


@dataclass(frozen=True)
class Canvases:
    """An image ``(S, S, 3)`` and its masks ``(M, S, S)``, and how their files store them."""

    image: UInt8
    masks: UInt8
    stored: StoredPair


@dataclass(frozen=True)
class CanvasCache:
    """Cache folder for canvases of one size and kind.

    Attributes
    ----------
    folder
        Folder of the cache; other files in it are kept.
    data
        Sets `fit`, `mask_threshold` and the channels to read.
    """

    folder: Path
    data: DataConfig
    size: int
    classes: int

    def prepare(self) -> None:
        """Create the folder; a new one is readable by this user only.

        Raises
        ------
        OutputError
            If it cannot be created.
        """
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            remove_dead_once(self.folder)
        except OSError as error:
            raise OutputError(
                f"Cannot cache decoded images in {self.folder}: {error.strerror or error}. Choose "
                "another --cache, or omit it."
            ) from None

    def get(self, pair: Pair) -> Canvases | None:
        """Return the canvases of a pair, or None if not cached."""
        side, count = self.size, len(pair.masks)
        size = side * side * (3 + count)
        with contextlib.suppress(OSError, ValueError):
            path = self._path(pair)
            content = read_bounded(path, size + _LARGEST_NOTE + _CHECK)
            os.utime(path)  # marks it as recently used
            if content[-_CHECK:] == _check(content[:-_CHECK]):
                values = np.frombuffer(content, np.uint8)
                image = values[: side * side * 3].reshape(side, side, 3)
                masks = values[side * side * 3 : size].reshape(count, side, side)
                stored = _STORED.validate_json(content[size:-_CHECK])
                return Canvases(image, masks, replace(stored, name=pair.name))
        return None

    def put(self, pair: Pair, canvases: Canvases) -> None:
        """Store an image and its masks; a full disk is not an error."""
        pixels = canvases.image.tobytes() + canvases.masks.tobytes()
        content = pixels + _STORED.dump_json(canvases.stored)
        temporary: Path | None = None
        try:
            path = self._path(pair)
            with new_file(path) as temporary:
                temporary.write_bytes(content + _check(content))
                # Not synced, which would take minutes for thousands of files; `get` verifies
                # the content.
                os.replace(temporary, path)
        except OSError as error:
            logger.debug("%s is not cached: %s", pair.name, error)
            if temporary is not None:
                with contextlib.suppress(OSError):
                    temporary.unlink(missing_ok=True)

    def trim(self, limit: int = LIMIT_BYTES) -> None:
        """Remove the least recently used files until at most `limit` bytes are left."""
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
        # The provenance of a mask says how the image was turned when it was drawn.
        for path in (place for mask in pair.masks for place in provenance_places(mask)):
            if path.is_file():
                files.append((str(path.resolve()), path.stat()))
        facts = {
            "format": FORMAT,
            "size": self.size,
            "fit": self.data.fit,
            "threshold": self.data.mask_threshold,
            "classes": self.classes,
            "channel": [self.data.reading.channel, self.data.reading.for_masks.channel],
            "keep_numbers": self.data.reading.keep_numbers,
            "raters": pair.raters,
            "files": [
                # Of another file with the same date, as copies keep it, the time of change differs.
                (path, state.st_size, state.st_mtime_ns, state.st_ctime_ns)
                for path, state in files
            ],
        }
        digest = hashlib.sha256(json.dumps(facts).encode("utf-8", "surrogatepass")).hexdigest()
        return self.folder / f"{digest}{SUFFIX}"


def _check(content: bytes) -> bytes:
    return zlib.crc32(content).to_bytes(_CHECK, "little")
