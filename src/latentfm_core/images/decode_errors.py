"""Errors of decoders, told to the user."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from latentfm_core.errors import ImageError, LatentFMError, ResourceError

logger = logging.getLogger(__name__)


@contextmanager
def decoding(what: str, wanted: str, advice: str) -> Iterator[None]:
    """Turn whatever a decoder raises within the block into an error that the user understands.

    Parameters
    ----------
    what
        What is decoded, for example the path; begins the message.
    wanted
        What it should be, for example ``"an image"``.
    advice
        What to do about it, without a full stop.

    Raises
    ------
    ImageError
        If it cannot be decoded.
    ResourceError
        If there is not enough memory.
    LatentFMError
        As it was raised within the block.
    """
    try:
        yield
    except LatentFMError:
        raise
    except MemoryError:
        raise ResourceError(
            f"{what}: the memory does not suffice to open it. Close other programs or crop it."
        ) from None
    except Exception as error:
        # Decoders raise nearly any type for a damaged file; all mean the same to the user.
        logger.debug("%s cannot be decoded", what, exc_info=True)
        raise ImageError(
            f"{what}: cannot be read as {wanted}, it is damaged, truncated or of an unknown "
            f"format ({type(error).__name__}: {error}). {advice}."
        ) from None
