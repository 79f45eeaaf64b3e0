"""Masks kept in memory, so that another background, crop, size or format needs no second run of the model."""

from __future__ import annotations

import threading
import zlib
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from transformers_foreground.images.boxes import within

PREVIEW: Final = 1024  # pixels on the longer side: enough for a page, and composed in less than 100 ms
MOST_BYTES: Final = 200_000_000  # compressed; a photo's mask takes about a hundredth of its pixels

Key = tuple[Path, str, str, str]
"""An upload's file, a model's id, its dtype, and the name of a touch-up: empty for the model's own mask."""

Mask = NDArray[np.uint8]


@dataclass(frozen=True)
class _Packed:
    shape: tuple[int, ...]
    data: bytes

    @classmethod
    def of(cls, mask: Mask) -> _Packed:
        return cls(mask.shape, zlib.compress(mask.tobytes(), 1))

    def mask(self) -> Mask:
        return np.frombuffer(zlib.decompress(self.data), np.uint8).reshape(self.shape)


@dataclass(frozen=True)
class _Kept:
    whole: _Packed
    small: _Packed
    doubt: float

    @property
    def size(self) -> int:
        return len(self.whole.data) + (len(self.small.data) if self.small is not self.whole else 0)


@dataclass(eq=False)
class Masks:
    """Masks of uploads, compressed. Safe to use from all threads."""

    _kept: OrderedDict[Key, _Kept] = field(default_factory=OrderedDict)
    _size: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def keep(self, key: Key, mask: Mask, doubt: float = 0.0) -> None:
        """Keep a mask. Drop those of deleted uploads, and, above `MOST_BYTES`, those not used for longest.

        Args:
            key: Which mask it is.
            mask: uint8, (H, W).
            doubt: How unsure the model is of it, in [0, 1].
        """
        whole, small = _Packed.of(mask), np.asarray(shrunk(Image.fromarray(mask)))
        kept = _Kept(whole, whole if small.shape == mask.shape else _Packed.of(small), doubt)
        with self._lock:
            self._drop(key)
            self._kept[key] = kept
            self._size += kept.size
            for old in [old for old in self._kept if not old[0].exists()]:
                self._drop(old)
            while self._size > MOST_BYTES:
                self._drop(next(iter(self._kept)))

    def get(self, key: Key) -> Mask | None:
        """Return a mask, uint8, (H, W); `None` if it is not kept."""
        kept = self._find(key)
        return kept.whole.mask() if kept else None

    def preview(self, key: Key) -> Mask | None:
        """Return a mask at preview size, uint8, (h, w); `None` if it is not kept."""
        kept = self._find(key)
        return kept.small.mask() if kept else None

    def doubt(self, key: Key) -> float:
        """Return how unsure the model is of a mask, in [0, 1]; 0 if it is not kept."""
        kept = self._find(key)
        return kept.doubt if kept else 0.0

    def _find(self, key: Key) -> _Kept | None:
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def _drop(self, key: Key) -> None:
        if key in self._kept:
            self._size -= self._kept.pop(key).size


def shrunk(image: Image.Image) -> Image.Image:
    """Shrink an image to preview size. One that is smaller is returned as it is."""
    if max(image.size) <= PREVIEW:
        return image
    small = image.resize(within(*image.size, PREVIEW), Image.Resampling.BOX)
    small.info.update(image.info)
    return small
