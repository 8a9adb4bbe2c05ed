"""What the gateway needs to know, gathered from the settings: data for `render`."""

import re
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path

from matinee.contracts.events import MAX_BATCH_BYTES
from matinee.errors import MatineeError
from matinee.settings import Settings
from serving.gateway import accel

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
_NAME = re.compile(r"^(\*|\[[0-9a-fA-F:]+\]|[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252}))$")
_HEADER = re.compile(r"^[A-Za-z][A-Za-z0-9-]{0,63}$")


class GatewayError(MatineeError):
    """The gateway cannot be set up so."""


@dataclass(frozen=True)
class GatewayPlan:
    """One gateway. Folders are absolute; rates are a client address's, and None where nothing is limited."""

    folder: Path  # its own: configuration, cache, temporary files
    media: Path
    api_port: int
    https_port: int
    http_port: int
    listen: str
    names: tuple[str, ...]  # hosts that are answered; the first one stands in redirects of unknown hosts; * for all
    certificate: Path
    key: Path
    mark: str
    outer_proxies: tuple[str, ...] = ()  # networks whose X-Forwarded-For and region are believed
    region_header: str | None = None
    body_bytes: int = MAX_BATCH_BYTES
    requests_per_s: int | None = 200
    burst: int = 1_000
    connections: int | None = 200
    workers: int = 2
    version: tuple[int, int, int] = (1, 31, 3)

    def __post_init__(self) -> None:
        for path in (self.folder, self.media, self.certificate, self.key):
            if not path.is_absolute() or "$" in str(path) or not str(path).isprintable():
                raise GatewayError(f"NGINX cannot be told the path {path}: it must be absolute and hold no dollar sign")
        for name in self.names:
            if not _NAME.match(name):
                raise GatewayError(f"MATINEE_GATEWAY_NAME: {name!r} is no host name: give names by comma, or *")
        for network in self.outer_proxies:
            try:
                ip_network(network, strict=False)
            except ValueError:
                raise GatewayError(
                    f"MATINEE_GATEWAY_BEHIND: {network!r} is no address: give addresses or networks by comma"
                ) from None
        if self.region_header is not None and not _HEADER.match(self.region_header):
            raise GatewayError(f"MATINEE_REGION_HEADER: {self.region_header!r} is no name of a header")


def plan(
    settings: Settings,
    *,
    api_port: int,
    https_port: int,
    http_port: int,
    certificate: tuple[Path, Path],
    version: tuple[int, int, int],
    workers: int,
) -> GatewayPlan:
    """The plan of a home.

    Raises:
        GatewayError: a setting holds what NGINX would read as something else.
    """
    scale = settings.limits_scale
    return GatewayPlan(
        folder=folder(settings),
        media=settings.media,
        api_port=api_port,
        https_port=https_port,
        http_port=http_port,
        listen=settings.gateway_address,
        names=tuple(dict.fromkeys((*_listed(settings.gateway_name), *LOOPBACK_NAMES))),
        certificate=certificate[0],
        key=certificate[1],
        mark=accel.mark(settings.home),
        outer_proxies=_listed(settings.gateway_behind),
        region_header=settings.region_header,
        requests_per_s=max(1, round(200 * scale)) if scale else None,
        burst=max(1, round(1_000 * scale)),
        connections=max(1, round(200 * scale)) if scale else None,
        workers=workers,
        version=version,
    )


def folder(settings: Settings) -> Path:
    """Where the gateway keeps what it writes."""
    return settings.home.root / "gateway"


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())
