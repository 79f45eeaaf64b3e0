"""Who may call the server: by which names, and from which pages."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from transformers_foreground.server.asgi import Scope, header

_LOOPBACK: Final = ("127.0.0.1", "localhost", "[::1]")


@dataclass(frozen=True)
class Names:
    """Names by which a server may be called.

    Another site can have a name of its own made to point at this machine, and then is the same origin to a browser; but
    it still calls the server by that name.

    Attributes:
        known: In lower case.
        addresses: Whether any IP address will do, which is no name that another site could have.
    """

    known: tuple[str, ...]
    addresses: bool = False

    def has(self, host: str) -> bool:
        """Whether a `Host` header, with a port or without, is one of them."""
        name = re.sub(r":\d*$", "", host).lower()
        return name in self.known or (self.addresses and _is_address(name))

    def __str__(self) -> str:
        return " or ".join((*self.known, *(["its IP address"] if self.addresses else [])))


def names_of(listens_on: str, others: Iterable[str] = ()) -> Names:
    """Return the names of a server.

    Args:
        listens_on: The address that it listens on.
        others: Names that whoever runs it gave.
    """
    given = [*_LOOPBACK, *(name.lower() for name in others)]
    if listens_on in ("127.0.0.1", "localhost", "::1"):
        return Names(tuple(dict.fromkeys(given)))
    machine = socket.gethostname().lower()
    return Names(tuple(dict.fromkeys([*given, machine, f"{machine}.local"])), addresses=True)


def is_from_elsewhere(scope: Scope) -> bool:
    """Whether a page of another origin makes this request: it must neither use the server nor read from it.

    Browsers say so themselves where they find the connection safe, and otherwise name that page's origin with all that
    changes something or is read by a script. Programs that are no browsers say neither. A link may lead to the page.
    """
    site = header(scope, b"sec-fetch-site")
    if site is not None:
        is_link = (header(scope, b"sec-fetch-mode"), header(scope, b"sec-fetch-dest")) == ("navigate", "document")
        followed = is_link and scope["method"] == "GET" and scope["path"] == "/"
        return site not in ("same-origin", "none") and not followed
    origin = header(scope, b"origin")
    return origin is not None and urlsplit(origin).netloc.lower() != (header(scope, b"host") or "").lower()


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True
