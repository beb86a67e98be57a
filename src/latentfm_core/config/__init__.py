"""Frozen, validated settings shared by the command line, the API and the plugin.

All defaults of the project are defined here. A configuration is read from TOML (`load_config`) or
a preset (`preset`) or built in Python, can be changed with dotted overrides (`with_overrides`),
and is stored as JSON in checkpoints and model cards.
"""

from __future__ import annotations

from latentfm_core.config.adaptation import ADAPTATION, AdaptationConfig
from latentfm_core.config.base import (
    ANY_OBJECT_MODEL,
    DEFAULT_MODEL,
    LATENT_DOWNSAMPLE,
    NUMBER_FORMATS,
    SAMPLE_SLIDER_MAX,
    Blocks,
    ClassName,
    Colour,
    Fraction,
    PositiveInt,
    Precision,
    Seed,
    Settings,
    SolverName,
    Width,
    default_first,
)
from latentfm_core.config.config import Config
from latentfm_core.config.data import READING, DataConfig, ReadingConfig, SetConfig
from latentfm_core.config.loading import (
    PRESETS,
    config_from_mapping,
    load_config,
    preset,
    read_toml,
    reading_settings,
    report_settings,
    sampling_settings,
    tiling_settings,
    with_overrides,
)
from latentfm_core.config.model import ModelConfig
from latentfm_core.config.report import REPORT, ReportConfig
from latentfm_core.config.sampling import (
    CorrectionConfig,
    PromptConfig,
    SamplingConfig,
    TilingConfig,
)
from latentfm_core.config.training import DistillConfig, FlowConfig, StageConfig, TrainingConfig

__all__ = [
    "ADAPTATION",
    "ANY_OBJECT_MODEL",
    "DEFAULT_MODEL",
    "LATENT_DOWNSAMPLE",
    "NUMBER_FORMATS",
    "PRESETS",
    "READING",
    "REPORT",
    "SAMPLE_SLIDER_MAX",
    "AdaptationConfig",
    "Blocks",
    "ClassName",
    "Colour",
    "Config",
    "CorrectionConfig",
    "DataConfig",
    "DistillConfig",
    "FlowConfig",
    "Fraction",
    "ModelConfig",
    "PositiveInt",
    "Precision",
    "PromptConfig",
    "ReadingConfig",
    "ReportConfig",
    "SamplingConfig",
    "Seed",
    "SetConfig",
    "Settings",
    "SolverName",
    "StageConfig",
    "TilingConfig",
    "TrainingConfig",
    "Width",
    "config_from_mapping",
    "default_first",
    "load_config",
    "preset",
    "read_toml",
    "reading_settings",
    "report_settings",
    "sampling_settings",
    "tiling_settings",
    "with_overrides",
]
