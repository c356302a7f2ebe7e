"""Whether a web address can be reached, found by connecting to it and sending nothing."""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Door:
    """Where a request to an address goes first: its host, or the proxy of the environment.

    Attributes
    ----------
    secure : bool
        TLS begins here.
    behind : str
        The host behind the proxy; empty without one.
    """

    host: str
    port: int
    secure: bool
    behind: str = ""

    def words(self) -> str:
        """Return what a connection shows."""
        if self.behind:
            return f"the proxy {self.host}:{self.port} answers; {self.behind} was not tried"
        return f"{self.host}:{self.port} answers{' by TLS' if self.secure else ''}"


def door_to(url: str) -> Door:
    """Return where a request to a URL of http or https goes.

    Raises
    ------
    ValueError
        A port is none.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    proxy = "" if proxy_bypass(host) else getproxies().get(parts.scheme, "")
    if proxy:
        before = urlsplit(proxy if "://" in proxy else f"//{proxy}")
        return Door(before.hostname or "", before.port or DEFAULT_PORTS["http"], False, host)
    return Door(host, parts.port or DEFAULT_PORTS[parts.scheme], parts.scheme == "https")


def knock(door: Door, *, timeout: float) -> None:
    """Connect, by TLS where it begins there, and hang up.

    Raises
    ------
    OSError
        The name is unknown, nobody answers, or the certificate is not trusted.
    """
    with socket.create_connection((door.host, door.port), timeout=timeout) as plain:
        if door.secure:
            context = ssl.create_default_context()
            context.wrap_socket(plain, server_hostname=door.host).close()
