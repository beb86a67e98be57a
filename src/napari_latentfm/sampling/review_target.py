"""Common base of the sampling targets whose result is put under review."""

from __future__ import annotations

from typing import Generic, TypeVar

from napari_latentfm.background.image_request import Result
from napari_latentfm.results.session import ReviewSession
from napari_latentfm.sampling.status import session_status

ResultT = TypeVar("ResultT", bound=Result)


class ReviewTarget(Generic[ResultT]):
    """Base of the targets whose result is put under review; see `SamplingTarget`."""

    def status(self, session: ReviewSession, _result: ResultT) -> str:
        """Return a description of the result under review."""
        return session_status(session)

    def device(self, result: ResultT) -> str:
        """Return the device that drew a result."""
        return result.device
