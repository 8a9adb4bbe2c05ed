"""Where a package lies: a folder that is never left, or a web server that is asked for bounded amounts.

One interface for both: `resolve` a reference, `read` a file. What lies outside may be hostile: the folder reader opens
plain files below its root only; the web reader speaks http and https to one origin at a public address and follows no
redirect.
"""

import os
import stat
import time
import zlib
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Protocol
from urllib.parse import unquote, urljoin, urlsplit

from matinee import addresses
from transcoding.errors import TranscodingError

_CHUNK = 1 << 16


class UnreadableError(TranscodingError):
    """One file of a package cannot be had; the message says why."""


class RedirectError(UnreadableError):
    """The server answered with a redirect."""


@dataclass(frozen=True)
class Limits:
    """Bytes of a playlist, of a segment and of all, how many files, seconds for one request and for all."""

    playlist_bytes: int = 8 << 20
    segment_bytes: int = 256 << 20
    total_bytes: int = 256 << 30
    files: int = 500_000
    request_s: float = 30.0
    total_s: float = 6 * 3600.0


# Of a server that nobody vouches for less is taken.
WEB_LIMITS = Limits(segment_bytes=64 << 20, total_bytes=64 << 30, files=100_000, total_s=2 * 3600.0)


@dataclass(frozen=True)
class Response:
    """What a web server said about one file, for the delivery rules."""

    uri: str
    status: int
    mime: str
    coding: str
    location: str | None = None


class Reader(Protocol):
    """`start` is the first playlist; names are as `resolve` returns them."""

    start: str
    is_web: bool
    limits: Limits
    responses: list[Response]

    def resolve(self, base: str, reference: str) -> str: ...

    def read(self, name: str, most: int, span: tuple[int, int] | None = None) -> bytes: ...

    def exists(self, name: str) -> bool: ...


@dataclass
class _Budget:
    limits: Limits
    spent: int = 0
    files: int = 0
    began: float = field(default_factory=time.monotonic)

    def open(self, name: str) -> None:
        self.files += 1
        if self.files > self.limits.files:
            raise TranscodingError(f"{name}: more than {self.limits.files} files were asked for; that is no package")
        if time.monotonic() - self.began > self.limits.total_s:
            raise TranscodingError(f"{name}: the check took longer than {self.limits.total_s:.0f} s")

    def take(self, name: str, size: int) -> None:
        self.spent += size
        if self.spent > self.limits.total_bytes:
            raise TranscodingError(f"{name}: more than {self.limits.total_bytes} bytes were read; that is no package")


class FolderReader:
    """Files below a folder; names are POSIX paths relative to it."""

    is_web = False

    def __init__(self, root: Path, start: str, limits: Limits) -> None:
        self.root, self.start, self.limits = Path(os.path.realpath(root)), start, limits
        self.responses: list[Response] = []
        self._budget = _Budget(limits)

    def resolve(self, base: str, reference: str) -> str:
        parts = urlsplit(reference)
        if parts.scheme or parts.netloc or parts.path.startswith("/"):
            raise UnreadableError(f"{reference[:200]!r} does not lie in the folder")
        path = os.path.normpath(str(PurePosixPath(base).parent / unquote(parts.path)))
        if path.startswith("..") or "\0" in path:
            raise UnreadableError(f"{reference[:200]!r} leaves the folder")
        return path

    def exists(self, name: str) -> bool:
        path = Path(os.path.realpath(self.root / name))
        return path.is_relative_to(self.root) and path.is_file()

    def read(self, name: str, most: int, span: tuple[int, int] | None = None) -> bytes:
        self._budget.open(name)
        path = Path(os.path.realpath(self.root / name))
        if not path.is_relative_to(self.root):
            raise UnreadableError(f"{name} leads out of the folder")
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        except (OSError, ValueError) as error:
            raise UnreadableError(f"{name}: {getattr(error, 'strerror', None) or error}") from error
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            os.close(descriptor)
            raise UnreadableError(f"{name} is no plain file")
        with os.fdopen(descriptor, "rb") as file:
            start, size = span or (0, facts.st_size)
            if size > most:
                raise UnreadableError(f"{name} has {size} bytes, at most {most} are read")
            file.seek(start)
            data = file.read(size)
        if len(data) < size:
            raise UnreadableError(f"{name} ends before byte {start + size}")
        self._budget.take(name, len(data))
        return data


class WebReader:
    """Files of one origin; names are absolute URLs."""

    is_web = True

    def __init__(self, url: str, limits: Limits, *, other_origins: bool = False, inside: bool = False) -> None:
        self.start, self.limits, self._other = url, limits, other_origins
        self.responses: list[Response] = []
        self._origin = _origin(url)
        self._budget = _Budget(limits)
        options = {"timeout": limits.request_s, "headers": {"Accept-Encoding": "gzip"}}
        self._client = addresses.client(_guard(url, inside=inside), **options)

    def close(self) -> None:
        self._client.close()

    def resolve(self, base: str, reference: str) -> str:
        try:
            url = urljoin(base, reference)
            origin = _origin(url)
        except ValueError as error:
            raise UnreadableError(f"{reference[:200]!r} is no URL") from error
        if origin[0] not in ("http", "https"):
            raise UnreadableError(f"{reference[:200]!r} is neither http nor https")
        if origin != self._origin and not self._other:
            raise UnreadableError(f"{url[:200]} lies on another server; allow other origins to follow it")
        return url

    def exists(self, name: str) -> bool:
        try:
            self.read(name, self.limits.segment_bytes)
        except UnreadableError:
            return False
        return True

    def read(self, name: str, most: int, span: tuple[int, int] | None = None) -> bytes:
        import httpx

        self._budget.open(name)
        headers = {"Range": f"bytes={span[0]}-{span[0] + span[1] - 1}"} if span else {}
        if span and not 0 < span[1] <= most:
            raise UnreadableError(f"{name}: a range of {span[1]} bytes, at most {most} are read")
        try:
            with self._client.stream("GET", name, headers=headers) as response:
                self._note(name, response)
                if response.status_code not in (200, 206):
                    raise UnreadableError(f"{name}: the server answers {response.status_code}")
                data = self._body(name, response, most)
                cut = span is not None and response.status_code == 200
        except addresses.AddressError as error:
            raise UnreadableError(
                f"{name[:200]}: {error}; --inside reads from a server in one's own network"
            ) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise UnreadableError(f"{name}: {error or type(error).__name__}") from error
        if span is not None:
            data = data[span[0] : span[0] + span[1]] if cut else data
            if len(data) != span[1]:
                raise UnreadableError(f"{name}: {len(data)} of {span[1]} bytes came")
        return data

    def _note(self, name: str, response: Any) -> None:
        mime = response.headers.get("content-type", "").split(";")[0].strip().lower()
        coding = response.headers.get("content-encoding", "").strip().lower()
        location = response.headers.get("location") if 300 <= response.status_code < 400 else None
        self.responses.append(Response(name, response.status_code, mime, coding, location))
        if location is not None:
            raise RedirectError(f"{name} redirects to {location[:200]}")

    def _body(self, name: str, response: Any, most: int) -> bytes:
        """The content, unpacked here and not by the client: a few packed bytes may stand for gigabytes."""
        coding = response.headers.get("content-encoding", "").strip().lower()
        if coding not in ("", "identity", "gzip"):
            raise UnreadableError(f"{name}: content-encoding {coding} was not asked for")
        unpack = zlib.decompressobj(31) if coding == "gzip" else None
        began, parts, size = time.monotonic(), [], 0
        for chunk in response.iter_raw(_CHUNK):
            try:
                piece = unpack.decompress(chunk, most + 1 - size) if unpack else chunk
            except zlib.error as error:
                raise UnreadableError(f"{name}: gzip content is broken: {error}") from error
            size += len(piece)
            if size > most or (unpack and unpack.unconsumed_tail):
                raise UnreadableError(f"{name} has more than {most} bytes")
            if time.monotonic() - began > 4 * self.limits.request_s:
                raise UnreadableError(f"{name} took longer than {4 * self.limits.request_s:.0f} s")
            parts.append(piece)
            self._budget.take(name, len(piece))
        return b"".join(parts)


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    scheme = parts.scheme.lower()
    return scheme, (parts.hostname or "").lower(), parts.port or {"http": 80, "https": 443}.get(scheme)


def _guard(url: str, *, inside: bool) -> addresses.Guard:
    """Inside, the start's own addresses may be any; what its playlists name besides must still be public."""
    import httpx

    strict = addresses.Guard()
    if not inside:
        return strict
    try:
        return addresses.Guard(strict.addresses(httpx.URL(url)))
    except (addresses.AddressError, httpx.InvalidURL) as error:
        raise UnreadableError(f"{url[:200]}: {error}") from error


def open_reader(
    location: Path | str, limits: Limits, *, other_origins: bool = False, inside: bool = False
) -> FolderReader | WebReader:
    """The reader of a folder, of a playlist file, or of a URL (of a playlist, or of a folder: `master.m3u8` is added).

    Raises:
        TranscodingError: there is no playlist to begin with.
    """
    text = str(location)
    if "://" in text:
        if urlsplit(text).scheme.lower() not in ("http", "https"):
            raise TranscodingError(f"{text}: only http and https URLs are read")
        start = text + "master.m3u8" if text.endswith("/") else text
        return WebReader(start, limits, other_origins=other_origins, inside=inside)
    path = Path(text)
    if path.is_file():
        return FolderReader(path.parent, path.name, limits)
    if not path.is_dir():
        raise TranscodingError(f"{text}: no such folder or playlist")
    found = sorted(inside.name for inside in path.glob("*.m3u8"))
    for name in ("master.m3u8", "index.m3u8", *found):
        if name in found:
            return FolderReader(path, name, limits)
    raise TranscodingError(f"{text} holds no playlist (*.m3u8)")
