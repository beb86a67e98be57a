"""Errors that a user can cause and fix.

Each message says what is wrong and what to do. The command line prints it and exits with
code 2; the napari plugin shows it as a notification. Any other exception is a
bug in this package.
"""


class LatentFMError(Exception):
    """Base of every error whose message is meant for the user."""


class ConfigError(LatentFMError):
    """A setting is unknown, of the wrong type or out of range."""


class ImageError(LatentFMError):
    """One image or mask cannot be read or cannot be used."""


class ClassesError(ImageError):
    """A mask has other values than the classes, and one solution is to name classes."""


class DatasetError(LatentFMError):
    """A folder of images and masks does not form a data set."""


class ModelFolderError(LatentFMError):
    """A model folder is missing, incomplete, foreign or altered."""


class CheckpointError(LatentFMError):
    """A training run cannot be resumed from its folder."""


class ResourceError(LatentFMError):
    """The machine lacks the memory, disk space or device that the settings require."""


class OutputError(LatentFMError):
    """A result cannot be written to the chosen location."""


class FolderBusy(OutputError):
    """Another process is writing to the folder."""


class Cancelled(LatentFMError):
    """The caller cancelled the job; there is no result."""
