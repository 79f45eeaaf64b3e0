"""Who may call the server: under which host names, and from which sites' pages."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import Scope

_LOOPBACK: Final = ("127.0.0.1", "localhost", "[::1]")


@dataclass(frozen=True)
class Names:
    """Host names that a server answers to.

    A site can make a name of its own point to this machine (DNS rebinding). A browser then takes the server for that
    site, but still sends the site's name as `Host`.

    Attributes:
        known: In lower case.
        addresses: Whether any IP address will do: no site can have one as its name.
    """

    known: tuple[str, ...]
    addresses: bool = False

    def has(self, host: str) -> bool:
        """Whether a `Host` header, with or without a port, is one of them."""
        name = re.sub(r":\d*$", "", host).lower()
        return name in self.known or (self.addresses and _is_address(name))

    def __str__(self) -> str:
        return " or ".join((*self.known, *(["its IP address"] if self.addresses else [])))


def names_of(listens_on: str, others: Iterable[str] = ()) -> Names:
    """Return the names that a server answers to.

    Args:
        listens_on: The address that it listens on. If other machines can reach it, the names include this machine's
            own name and any IP address.
        others: Names from `--server-name`.
    """
    given = [*_LOOPBACK, *(name.lower() for name in others)]
    if listens_on in ("127.0.0.1", "localhost", "::1"):
        return Names(tuple(dict.fromkeys(given)))
    machine = socket.gethostname().lower()
    return Names(tuple(dict.fromkeys([*given, machine, f"{machine}.local"])), addresses=True)


def is_from_elsewhere(scope: Scope) -> bool:
    """Whether a page of another origin makes this request. Such a page may only link to the server's page.

    Browsers send `Sec-Fetch-Site` over connections that they trust. Over others they send `Origin` with each request
    that changes something or whose answer a script reads. Other programs send neither.
    """
    headers = Headers(scope=scope)
    if (site := headers.get("sec-fetch-site")) is not None:
        is_link = (headers.get("sec-fetch-mode"), headers.get("sec-fetch-dest")) == ("navigate", "document")
        followed = is_link and scope["method"] == "GET" and scope["path"] == "/"
        return site not in ("same-origin", "none") and not followed
    origin = headers.get("origin")
    return origin is not None and urlsplit(origin).netloc.lower() != headers.get("host", "").lower()


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True
