"""Addresses: HTTP connections that reach the public internet alone.

A server that fetches what its visitors name would otherwise fetch for them what only it can reach (server-side request
forgery). Each connection resolves its host once, checks every address, and connects to one of those checked: a name
that resolves to another address the second time gains nothing, and a redirect is a new connection.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import urllib.request
from typing import Any


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
    if isinstance(parsed, ipaddress.IPv6Address):
        inner = parsed.ipv4_mapped or parsed.sixtofour or (parsed.teredo[1] if parsed.teredo else None)
        if inner is None and parsed in _NAT64:
            inner = ipaddress.IPv4Address(int(parsed) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
    return parsed.is_global and not parsed.is_multicast


_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def _connect(host: str, port: int, timeout: Any) -> socket.socket:
    problem: OSError = OSError(f"{host} has no address")
    for family, kind, protocol, _, address in public_addresses(host, port):
        connection = socket.socket(family, kind, protocol)
        try:
            if isinstance(timeout, (int, float)):
                connection.settimeout(timeout)
            connection.connect(address)
            return connection
        except OSError as error:
            connection.close()
            problem = error
    raise problem


class _Plain(http.client.HTTPConnection):
    def connect(self) -> None:
        self.sock = _connect(self.host, self.port, self.timeout)


class _Encrypted(http.client.HTTPSConnection):
    def connect(self) -> None:
        plain = _connect(self.host, self.port, self.timeout)
        try:
            self.sock = ssl.create_default_context().wrap_socket(plain, server_hostname=self.host)
        except OSError:
            plain.close()
            raise


class PublicHTTPHandler(urllib.request.HTTPHandler):
    """`http:` on the public internet."""

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        """Open a request."""
        return self.do_open(_Plain, req)


class PublicHTTPSHandler(urllib.request.HTTPSHandler):
    """`https:` on the public internet."""

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        """Open a request."""
        return self.do_open(_Encrypted, req)
