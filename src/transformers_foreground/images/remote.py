"""Images that are far away: to be downloaded before they wait for anything else."""

from __future__ import annotations

from typing import Any

from transformers_foreground.images.decode import MAX_BYTES
from transformers_foreground.images.sources import name_of, open_stream


def is_remote(image: Any) -> bool:
    """Whether an image is an `http:` or `https:` URL."""
    return isinstance(image, str) and image[:6].lower().startswith(("http:", "https:"))


def download(url: str, timeout: float) -> dict[str, Any]:
    """Fetch an encoded image.

    Args:
        url: Its address.
        timeout: Seconds that this may take.

    Returns:
        A dict of "bytes" and "path", as `datasets` has them: so it keeps its name in messages.

    Raises:
        ImageError: It cannot be fetched.
    """
    with open_stream(url, name_of(url), timeout, MAX_BYTES) as stream:
        return {"bytes": stream.read(), "path": url}
