"""Turn decoder errors into messages for the user."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from latentfm_core.errors import ImageError, LatentFMError, ResourceError

logger = logging.getLogger(__name__)


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
