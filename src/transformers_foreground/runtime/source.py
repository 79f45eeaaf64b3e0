"""The images of a stream, read one by one on the calling thread."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

END: Final = object()


class Source:
    """What is read of many images. An error of the iterable's own waits until all that came before it is done.

    Args:
        images: Read on the calling thread.

    Attributes:
        ended: Nothing more comes.
    """

    def __init__(self, images: Iterable[Any]) -> None:
        self._images = iter(images)
        self._error: Exception | None = None
        self.ended = False

    def read(self) -> Any:
        """Return the next image, or `END`."""
        try:
            return next(self._images)
        except StopIteration:
            self.ended = True
        except Exception as error:
            self.ended, self._error = True, error
        return END

    def raise_error(self) -> None:
        """Raise what ended the images, unless it was their end."""
        if self._error is not None:
            error, self._error = self._error, None
            raise error
