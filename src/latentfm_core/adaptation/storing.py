"""Store a version of an adapted model with its record."""

from __future__ import annotations

from typing import Any

from latentfm_core.adaptation.record import AdaptationFolder, AdaptationRecord
from latentfm_core.files.atomic import atomic_folder
from latentfm_core.model_io.domain import write_domain
from latentfm_core.model_io.folder import save_model
from latentfm_core.models.latentfm import LatentFM
from latentfm_core.uncertainty.domain import TrainingDomain


def store(
    folder: AdaptationFolder,
    record: AdaptationRecord,
    model: LatentFM,
    card: dict[str, Any],
    domain: TrainingDomain | None = None,
) -> AdaptationRecord:
    """Write a new version of an adapted model, then the record that refers to it; return that.

    After a kill at any time, the record and the model that it refers to belong together.

    Parameters
    ----------
    folder
        Of the work list; the caller holds its lock (`AdaptationFolder.writing`).
    record
        Its version is replaced by a new number.
    card
        Its card without ``weights``.
    domain
        Statistics of its training images; None if unknown.

    Raises
    ------
    OutputError
        If files cannot be written.
    """
    version = max(record.version, folder.last_version()) + 1
    # As a whole: nothing is written into the folder of a version later, so nothing would remove
    # what a killed process leaves there.
    with atomic_folder(folder.model(version)) as temporary:
        saved = save_model(temporary, model, card)
        if domain is not None:
            write_domain(temporary, domain, saved.weights_sha256)
    written = record.model_copy(update={"version": version})
    folder.write(written)
    return written
