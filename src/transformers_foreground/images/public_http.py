"""Public hosts: connections, and URIs, that reach the public internet alone.

A server that fetches what its visitors name would otherwise fetch for them what only it can reach (server-side request
forgery). Each connection resolves its host once, checks every address, and connects to one of those checked: a name
that resolves to another address the second time gains nothing, and a redirect is a new connection.
"""

from __future__ import annotations

import ipaddress
import socket
from typing import Any, Final

from transformers_foreground.env import env


class PrivateAddressError(OSError):
    """A host is not on the public internet."""


def public_addresses(host: str, port: int) -> list[tuple[Any, ...]]:
    """Resolve a host.

    Args:
        host: Its name or its address.
        port: The port.

    Returns:
        What `socket.getaddrinfo` gives.

    Raises:
        PrivateAddressError: Any of its addresses is private, loopback, link-local, multicast or otherwise not global.
        OSError: It cannot be resolved.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    for *_, address in found:
        if not is_public(str(address[0])):
            raise PrivateAddressError(f"{host} is not on the public internet")
    return found


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public internet.

    Args:
        address: IPv4 or IPv6, of the latter also one with a zone, or one that stands for an IPv4 address.
    """
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv4Address):
        return parsed.is_global and not parsed.is_multicast
    inner = parsed.ipv4_mapped or parsed.sixtofour or (parsed.teredo[1] if parsed.teredo else None)
    if parsed in _NAT64:
        inner = ipaddress.IPv4Address(int(parsed) & 0xFFFFFFFF)
    if inner is not None:
        return is_public(str(inner))
    # All that has ever been given out lies here: not site-local, IPv4-compatible, translated or local NAT64 addresses.
    return parsed in _GLOBAL_UNICAST and parsed.is_global


_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
_GLOBAL_UNICAST: Final = ipaddress.IPv6Network("2000::/3")


def connect_public(address: tuple[str, int], timeout: Any = None, *_: Any) -> socket.socket:
    """Connect as `socket.create_connection` does, to hosts on the public internet alone.

    Raises:
        PrivateAddressError: The host is not.
        OSError: The connection fails.
    """
    problem: OSError = OSError(f"{address[0]} has no address")
    for family, kind, protocol, _name, found in public_addresses(*address):
        connection = socket.socket(family, kind, protocol)
        try:
            if isinstance(timeout, (int, float)):
                connection.settimeout(timeout)
            connection.connect(found)
            return connection
        except OSError as error:
            connection.close()
            problem = error
    raise problem


_STORES: Final = ("s3", "s3a", "gs", "gcs", "hf", "file", "local", "zip", "tar", "gzip")
"""Schemes of stores whose address the process's own configuration decides, and of archives and files."""

_CACHES: Final = ("simplecache", "filecache", "blockcache", *_STORES)
"""Words that may stand alone in a chain of URIs."""


def check_uri(uri: str) -> None:
    """Refuse a URI that would let who names it choose a host, where `env.allow_private_urls` is `False`.

    This is not for images behind `http:` and `https:`: `decode` fetches those itself, and checks each address.

    Args:
        uri: As pyarrow, fsspec and `datasets` take it: `s3://bucket/key`, `zip://a.png::https://host/b.zip`.

    Raises:
        PrivateAddressError: A scheme may reach any host (`http:` in a chain, `webhdfs:`, `sftp:`, ...), or options
            after a `?` may name one.
    """
    if env.allow_private_urls:
        return
    hops = uri.split("::")
    for hop in hops:
        scheme, separator, _ = hop.partition("://")
        if len(hops) > 1 and hop.isalnum() and hop.lower() not in _CACHES:  # fsspec takes a bare word for a scheme
            separator = hop
        if separator and (scheme.lower() not in _STORES or "?" in hop):
            raise PrivateAddressError(
                f"{scheme}: may reach hosts that are not on the public internet, and env.allow_private_urls is False"
            )
