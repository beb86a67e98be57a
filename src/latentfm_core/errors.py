"""Errors that a user can cause and mend.

Each message says what is wrong and what to do. The command line prints it and exits with
code 2; the napari plugin shows it as a notification. Anything else that is raised is a
defect of this package.
"""


class LatentFMError(Exception):
    """Base of every error whose message is meant for the user."""


class ConfigError(LatentFMError):
    """A setting is unknown, of the wrong type or out of range."""


class ImageError(LatentFMError):
    """One image or mask cannot be read or cannot be used."""


class DatasetError(LatentFMError):
    """A folder of images and masks does not form a data set."""


class ModelFolderError(LatentFMError):
    """A model folder is missing, incomplete, foreign or altered."""


class CheckpointError(LatentFMError):
    """A training run cannot be resumed from what its folder holds."""


class ResourceError(LatentFMError):
    """The machine lacks memory, disk or a device that the settings ask for."""


class OutputError(LatentFMError):
    """A result cannot be written where it was asked for."""


class FolderBusy(OutputError):
    """Another process is writing to the folder."""


class Cancelled(LatentFMError):
    """The caller asked for the job to stop; no result was made."""
