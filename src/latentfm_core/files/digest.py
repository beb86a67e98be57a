"""Digest of the contents of a file or folder, to notice another one of the same name."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from itertools import accumulate
from pathlib import Path

from latentfm_core.files.regular import open_regular

WHOLE_BYTES = 2**28
"""Up to this size (256 MiB) everything is read, above it only `BLOCKS` blocks."""
BLOCKS = 64
BLOCK_BYTES = 2**20


def content_digest(path: Path) -> str:
    """Return a digest of a file, or of all files below a folder: 64 hexadecimal digits.

    It is a SHA-256 of sizes and contents. Name and place of `path` do not matter, those of files
    in a folder do. Of more than 256 MiB, only 64 evenly spread blocks of 1 MiB are read; a change
    elsewhere that keeps every size goes unnoticed.

    Raises
    ------
    OSError
        If something cannot be read.
    """
    files = sorted(each for each in path.rglob("*") if each.is_file()) if path.is_dir() else [path]
    sizes = [file.stat().st_size for file in files]
    state = hashlib.sha256()
    for file, size in zip(files, sizes, strict=True):
        inside = file.relative_to(path).as_posix()
        state.update(f"{size} {inside}\0".encode(errors="surrogateescape"))
    starts = [0, *accumulate(sizes)]
    if starts[-1] <= WHOLE_BYTES:
        for file in files:
            with open_regular(file) as stream:
                state.update(hashlib.file_digest(stream, "sha256").digest())
        return state.hexdigest()
    for block in range(BLOCKS):
        position = block * (starts[-1] - BLOCK_BYTES) // (BLOCKS - 1)
        index = bisect_right(starts, position) - 1
        with files[index].open("rb") as stream:
            stream.seek(position - starts[index])
            state.update(stream.read(BLOCK_BYTES))
    return state.hexdigest()
