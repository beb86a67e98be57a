"""Card of an adapted model."""

from __future__ import annotations

import datetime
import math
from typing import Any

from latentfm_core.adaptation.comparison import Comparison
from latentfm_core.adaptation.record import AdaptationRecord
from latentfm_core.config import AdaptationConfig
from latentfm_core.model_io.card import DataInfo, ModelCard, ParentInfo, TrainingInfo
from latentfm_core.names import counted
from latentfm_core.output.sidecar import versions

MAX_ID = 100


def adapted_card(
    parent: ModelCard,
    record: AdaptationRecord,
    comparison: Comparison,
    config: AdaptationConfig,
    device: str,
) -> dict[str, Any]:
    """Return the card of an adapted model without ``weights``.

    Parameters
    ----------
    parent
        Card of the model that was adapted, without a network for few steps, and with the
        calibration of the adapted model.
    """
    count = len(record.images)
    images = counted(count, "image")
    ending = f"-adapted-{count}"
    card = ModelCard(
        id=parent.id[: MAX_ID - len(ending)] + ending,
        title=f"{(parent.title or parent.id)[:150]}, adapted to {images}",
        description=(
            f"{parent.id} adapted to {images} accepted in a work list; the image encoder is "
            f"unchanged. The held-out figures are means over {comparison.n_tests} accepted images, "
            f"each tested before the model learned from it. {_calibration_of(parent)}"
        ),
        created=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        licence=parent.licence,
        intended_use=parent.intended_use,
        config=parent.config,
        data=DataInfo(name="accepted images of a work list", n_train=count),
        training=TrainingInfo(
            command=f"adapted in the background: {config.model_dump_json()}",
            seed=config.seed,
            seconds=round(record.seconds, 1),
            device=device[:200],
            versions=versions(),
        ),
        parent=ParentInfo(id=parent.id, sha256=parent.weights_sha256, n_images=count),
        calibration=parent.calibration,
        prompt_calibrations=parent.prompt_calibrations,
        encoder=parent.encoder,
        metrics=_metrics(comparison),
        weights=parent.weights,
    )
    return card.model_dump(mode="json", exclude={"weights"})


def _metrics(comparison: Comparison) -> dict[str, float]:
    every = {
        "val_parent_dice": comparison.present,
        "val_held_out_dice": comparison.adapted,
        "val_parent_box_dice": comparison.present_box,
        "val_held_out_box_dice": comparison.adapted_box,
    }
    return {name: value for name, value in every.items() if not math.isnan(value)}


def _calibration_of(card: ModelCard) -> str:
    fitted = card.calibration
    if fitted is None:
        return (
            "Not calibrated: confidence and expected Dice are raw until latentfm-calibrate fits "
            "a calibration."
        )
    missing = [f"a {kind}" for kind in ("box", "point") if kind not in card.prompt_calibrations]
    raw = f"; predictions from {' or '.join(missing)} are not calibrated" if missing else ""
    return (
        f"Calibrated on {fitted.n_images} of these tests, by earlier versions of the adapted "
        f"model{raw}."
    )
