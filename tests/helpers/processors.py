"""Simulated processors with and without bf16."""

from __future__ import annotations

import pytest

from latentfm_core.config import Precision
from latentfm_core.inference import device


@pytest.fixture(params=["bf16", "fp32"])
def auto_precision(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Precision:
    """Precision that ``auto`` means in this test, whatever the processor supports.

    PyTorch emulates bf16 where the processor lacks it. Does not reach into other processes.
    """
    precision: Precision = request.param
    monkeypatch.setattr(device, "has_bf16", lambda _device: precision == "bf16")
    return precision
