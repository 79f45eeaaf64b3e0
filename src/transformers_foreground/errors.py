"""The errors that this package raises, all below `ForegroundError`.

They are deliberately not subclasses of `OSError`, `ValueError` or `RuntimeError`: transformers' pipeline factory
swallows those while it tries one model class after another, and would then load another precision than was asked for.
"""

from __future__ import annotations


class ForegroundError(Exception):
    """Base of every error raised on purpose by this package."""


class UnsupportedTaskError(ForegroundError):
    """The task, or the subtask, is not one that this package or this model has."""


class UnsupportedDeviceError(ForegroundError):
    """The device name is unknown, or (with `strict=True`) its execution provider is not installed."""


class UnsupportedDtypeError(ForegroundError):
    """The dtype name is unknown."""


class UnsupportedOptionError(ForegroundError):
    """An option has a value that cannot be honoured, such as an unknown resampling or an impossible size."""


class ModelNotFoundError(ForegroundError):
    """No such model: neither in a local folder, nor in the cache, nor on the Hub (or the Hub cannot be reached)."""


class ModelFileNotFoundError(ModelNotFoundError):
    """The model exists but has no file for what was asked; the message lists the dtypes that it does have."""


class GatedModelError(ModelNotFoundError):
    """The Hub wants a login, or an accepted licence, before it hands out this model."""


class DownloadError(ForegroundError):
    """A download failed half-way, or what arrived is not what was announced."""


class ModelTooLargeError(ForegroundError):
    """Weights are larger than `env.max_model_bytes`, and were not downloaded.

    Attributes:
        fact: How large they are, as a sentence to show before asking whether to go on.
        size: How large in bytes; `None` where it is not known.
    """

    def __init__(self, message: str, fact: str = "", size: int | None = None) -> None:
        super().__init__(message)
        self.fact, self.size = fact, size


class InvalidModelError(ForegroundError):
    """The file is not an ONNX graph that gives one alpha plane per image."""


class NotForegroundError(InvalidModelError):
    """The graph runs, but gives no alpha plane: it is another kind of model."""


class InferenceError(ForegroundError):
    """ONNX Runtime failed while it ran a model, for example because memory did not suffice."""


class ImageError(ForegroundError):
    """The input is not an image that can be read; the message names it and says why."""


class MissingExtraError(ForegroundError):
    """An optional package is not installed; the message names the extra that brings it."""


class DeviceFallbackWarning(UserWarning):
    """The device that was asked for has no installed execution provider; the CPU is used instead."""
