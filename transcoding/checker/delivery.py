"""Sections 10, 11 and 8.18: how a web server delivers; and 13: what protects the content."""

from collections.abc import Iterator, Mapping

from transcoding.checker.model import Package
from transcoding.checker.reader import Response
from transcoding.checker.registry import MUST, SHOULD, Evidence, Skip, need_master, rule

_PLAYLIST = {"application/vnd.apple.mpegurl", "audio/mpegurl", "application/x-mpegurl"}
_MIME = {
    ".m3u8": _PLAYLIST, ".m3u": _PLAYLIST, ".ts": {"video/mp2t"},
    ".m4s": {"video/iso.segment", "video/mp4", "audio/mp4"},
    ".mp4": {"video/mp4", "audio/mp4", "application/mp4"}, ".m4v": {"video/mp4"}, ".m4a": {"audio/mp4"},
    ".aac": {"audio/aac"}, ".mp3": {"audio/mpeg"}, ".ac3": {"audio/ac3"}, ".ec3": {"audio/eac3"},
    ".vtt": {"text/vtt", "text/plain"}, ".webvtt": {"text/vtt", "text/plain"},
}  # fmt: skip
_FAIRPLAY = "com.apple.streamingkeydelivery"


def _responses(package: Package) -> list[Response]:
    if not package.is_web:
        raise Skip("a folder: there is no delivery to look at")
    return package.responses


def _suffix(uri: str) -> str:
    path = uri.split("?", 1)[0].split("#", 1)[0].rsplit("/", 1)[-1]
    return "." + path.rsplit(".", 1)[-1].lower() if "." in path else ""


@rule("8.18", MUST, "media requests are not redirected")
def redirects(package: Package) -> Iterator[Evidence]:
    for response in _responses(package):
        if response.location is not None:
            yield Evidence(package.short(response.uri), f"{response.status} to {response.location[:120]}", "the file")


@rule("10.1", MUST, "playlists are delivered with gzip")
def gzipped(package: Package) -> Iterator[Evidence]:
    for response in _responses(package):
        if response.uri in package.texts and response.coding != "gzip":
            yield Evidence(package.short(response.uri), response.coding or "no content-encoding", "gzip")


@rule("10.4", SHOULD, "files have the recommended MIME types")
def mime_types(package: Package) -> Iterator[Evidence]:
    seen: set[tuple[str, str]] = set()
    for response in _responses(package):
        suffix = ".m3u8" if response.uri in package.texts else _suffix(response.uri)
        wanted, kind = _MIME.get(suffix), (suffix, response.mime)
        if wanted and response.status in (200, 206) and response.mime not in wanted and kind not in seen:
            seen.add(kind)
            yield Evidence(package.short(response.uri), response.mime or "no content-type", " or ".join(sorted(wanted)))


def _plain(package: Package, kinds: set[str]) -> Iterator[Evidence]:
    start = package.master.uri if package.master else package.location
    for response in _responses(package):
        kind = "segment" if response.uri not in package.texts else "master" if response.uri == start else "media"
        if kind in kinds and not response.uri.lower().startswith("https:"):
            yield Evidence(package.short(response.uri), "http", "https")


@rule("11.1", SHOULD, "multivariant playlists come over TLS")
def master_privacy(package: Package) -> Iterator[Evidence]:
    yield from _plain(package, {"master"})


@rule("11.2", SHOULD, "media playlists come over TLS")
def playlist_privacy(package: Package) -> Iterator[Evidence]:
    yield from _plain(package, {"media"})


@rule("11.3", SHOULD, "segments come over TLS")
def segment_privacy(package: Package) -> Iterator[Evidence]:
    yield from _plain(package, {"segment"})


def _keys(package: Package) -> list[tuple[str, Mapping[str, str]]]:
    found = [(package.short(r.name), key) for r in package.renditions.values() for key in r.listing.keys]
    found = [(name, key) for name, key in found if key.get("METHOD") != "NONE"]
    if not found:
        raise Skip("not encrypted")
    return found


def _fairplay(package: Package) -> list[tuple[str, Mapping[str, str]]]:
    found = [
        (name, key) for name, key in _keys(package)
        if key.get("KEYFORMAT") == _FAIRPLAY or key.get("URI", "").startswith("skd:")
    ]  # fmt: skip
    if not found:
        raise Skip("no FairPlay")
    return found


@rule("13.2", MUST, "FairPlay encrypts with SAMPLE-AES")
def fairplay_method(package: Package) -> Iterator[Evidence]:
    for name, key in _fairplay(package):
        if key.get("METHOD") != "SAMPLE-AES":
            yield Evidence(name, f"METHOD={key.get('METHOD')}", "SAMPLE-AES")


@rule("13.3", MUST, "FairPlay's key format is its own")
def fairplay_format(package: Package) -> Iterator[Evidence]:
    """FairPlay is recognised by its key format or by the scheme of its key URIs, skd."""
    for name, key in _fairplay(package):
        if key.get("KEYFORMAT") != _FAIRPLAY:
            yield Evidence(name, f"KEYFORMAT={key.get('KEYFORMAT')}", _FAIRPLAY)


def _hdcp(package: Package, low: int, high: int, wanted: str) -> Iterator[Evidence]:
    need_master(package)
    _keys(package)
    sized = [v for v in package.video_variants if v.resolution and low <= v.resolution[1] <= high]
    if not sized:
        raise Skip("no variants of that size")
    for variant in sized:
        if variant.attributes.get("HDCP-LEVEL") != wanted:
            found = f"HDCP-LEVEL={variant.attributes.get('HDCP-LEVEL', 'absent')}"
            yield Evidence(package.line(variant), found, wanted)


@rule("13.5", SHOULD, "encrypted HD asks for HDCP TYPE-0")
def hdcp_hd(package: Package) -> Iterator[Evidence]:
    yield from _hdcp(package, 720, 1080, "TYPE-0")


@rule("13.6", SHOULD, "encrypted UHD asks for HDCP TYPE-1")
def hdcp_uhd(package: Package) -> Iterator[Evidence]:
    yield from _hdcp(package, 1081, 1 << 20, "TYPE-1")


@rule("13.11", MUST, "SAMPLE-AES-CTR is not used")
def no_counter_mode(package: Package) -> Iterator[Evidence]:
    for name, key in _keys(package):
        if key.get("METHOD") == "SAMPLE-AES-CTR":
            yield Evidence(name, "METHOD=SAMPLE-AES-CTR", "AES-128 or SAMPLE-AES")
