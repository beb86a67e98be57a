"""Turn decoder errors into messages for the user."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from latentfm_core.errors import ImageError, LatentFMError, ResourceError

logger = logging.getLogger(__name__)

_HEAD = 132
_ADVICE = (
    (r"version https://git-lfs", "It is a pointer of Git LFS: fetch the image with git lfs pull"),
    (r"/annex/objects/", "It is a pointer of git-annex: fetch the image with git annex get"),
    (r"....ftyp(hei|hev|mif|msf|avi)", "It is HEIC or AVIF: save it as JPEG or PNG"),
    (r".{128}DICM", "It is DICOM: save its image as TIFF or PNG"),
    (
        r"\s*<(!doctype )?html",
        "It is a web page, perhaps of a login: download the image again",
    ),
    (r"\x1f\x8b|PK\x03\x04", "It is an archive: unpack it"),
)
"""How files of other formats begin that are named like an image, and what to do."""


def advice_about(path: Path) -> str:
    """Return what to do with a file that cannot be decoded, without a full stop."""
    try:
        with path.open("rb") as stream:
            head = stream.read(_HEAD).decode("latin-1")
    except OSError:
        head = ""
    found = (text for form, text in _ADVICE if re.match(form, head, re.DOTALL | re.IGNORECASE))
    return next(found, "Replace or remove the file")


@contextmanager
def decoding(what: str, wanted: str, advice: str) -> Iterator[None]:
    """Turn decoder exceptions raised within the block into user-facing errors.

    Parameters
    ----------
    what
        The input, for example its path; begins the message.
    wanted
        Expected type, for example ``"an image"``.
    advice
        How to fix it, without a full stop.

    Raises
    ------
    ImageError
        If it cannot be decoded.
    ResourceError
        If there is not enough memory.
    LatentFMError
        Passed through unchanged.
    """
    try:
        yield
    except LatentFMError:
        raise
    except MemoryError:
        raise ResourceError(
            f"{what}: not enough memory to open it. Close other programs or crop it."
        ) from None
    except Exception as error:
        # Decoders raise nearly any type for a damaged file; the user's remedy is the same.
        logger.debug("%s cannot be decoded", what, exc_info=True)
        raise ImageError(
            f"{what}: cannot be read as {wanted}: damaged, truncated or in an unknown format "
            f"({type(error).__name__}: {error}). {advice}."
        ) from None
