"""Fetching URLs that somebody else wrote: only http(s), only addresses of the public internet (OWASP ASVS 5.0, 1.3.6).

A name is resolved here, every address behind it is judged, and the connection goes to the address that was judged: a
name that changes its mind between question and connection (DNS rebinding) gains nothing. Every hop of a redirect comes
by here again.
"""

import ipaddress
import re
import socket
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from matinee.errors import MatineeError

if TYPE_CHECKING:
    import httpx

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], Collection[str]]
MAX_REDIRECTS = 3
_PORTS = {"http": 80, "https": 443}
# 127.1, 0x7f.0.0.1, 017700000001, 2130706433: resolvers read them as addresses, people as names.
_NUMBER = re.compile(r"^(?:0x[0-9a-f]*|\d+)$")
# All that is given out of IPv6, without 6to4, which wraps an IPv4 address.
_IPV6, _SIX_TO_FOUR = ipaddress.IPv6Network("2000::/3"), ipaddress.IPv6Network("2002::/16")


class AddressError(MatineeError):
    """A URL leads where nobody else's URL may lead us."""


def is_public(address: Address) -> bool:
    """Whether an address is a single machine's on the public internet; addresses in tunnels and mappings are not."""
    if isinstance(address, ipaddress.IPv6Address):
        return address.is_global and address in _IPV6 and address not in _SIX_TO_FOUR
    return address.is_global and not address.is_multicast and not address.is_reserved


def system_resolve(host: str, port: int) -> list[str]:
    """The addresses behind a name, as the system's resolver has them.

    Raises:
        AddressError: it has none.
    """
    try:
        return [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    except (OSError, UnicodeError) as error:
        raise AddressError(f"{host[:200]}: the name does not resolve: {error}") from None


class Guard:
    """Judges URLs. `allowed`: addresses that may be asked although they are not public."""

    def __init__(self, allowed: Collection[Address] = (), resolve: Resolve = system_resolve) -> None:
        self._allowed, self._resolve = frozenset(allowed), resolve

    def pin(self, url: "httpx.URL") -> Address:
        """The address to connect to for a URL.

        Raises:
            AddressError: another scheme than http and https; a name and password, or a number written as a host; or
                any address behind the host is not a public one.
        """
        addresses = self.addresses(url)
        for address in addresses:
            if address not in self._allowed and not is_public(address):
                raise AddressError(f"{url.host[:200]} leads to {address}, which is no address of the public internet")
        return addresses[0]

    def addresses(self, url: "httpx.URL") -> list[Address]:
        """Every address behind a URL's host, judged by its form alone.

        Raises:
            AddressError: as `pin`, public or not.
        """
        if url.scheme not in _PORTS:
            raise AddressError(f"{str(url)[:200]}: only http and https are fetched")
        if url.userinfo:
            raise AddressError(f"{url.host[:200]}: a URL with a name and password is not fetched")
        host = url.raw_host.decode("ascii").rstrip(".").lower()
        if not host or "%" in host:
            raise AddressError(f"{str(url)[:200]}: the URL names no host")
        try:
            return [ipaddress.ip_address(host)]
        except ValueError:
            pass
        if _NUMBER.match(host.rpartition(".")[2]):
            raise AddressError(f"{host[:200]}: an address is written as four decimal numbers with dots")
        port = url.port or _PORTS[url.scheme]
        found = [ipaddress.ip_address(address.partition("%")[0]) for address in self._resolve(host, port)]
        if not found:
            raise AddressError(f"{host[:200]}: the name does not resolve")
        return found


def client(guard: Guard, **options: object) -> "httpx.Client":
    """An httpx client whose every request, the first and each hop of a redirect, goes where `guard` lets it.

    `options` are httpx's own. Proxies and other settings of the environment are not looked at. Redirects are followed
    only where `follow_redirects=True` asks for it, three at most.
    """
    import httpx

    class Pinned(httpx.HTTPTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            # The Host header is written already; SNI and the certificate's name stay the host's.
            name, address = request.url.host, guard.pin(request.url)
            request.extensions = {**request.extensions, "sni_hostname": name}
            request.url = request.url.copy_with(host=str(address))
            try:
                return super().handle_request(request)
            finally:
                request.url = request.url.copy_with(host=name)

    settings: dict = {"follow_redirects": False, **options}
    return httpx.Client(transport=Pinned(), trust_env=False, max_redirects=MAX_REDIRECTS, **settings)
