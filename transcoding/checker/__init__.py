"""Check any HLS package against Apple's authoring rules, HLS itself, and the DASH manifest beside it.

`check` reads a folder or a URL once, with bounded memory, and applies every rule in the registry. Nothing is decoded.
"""

from collections.abc import Callable
from pathlib import Path

from transcoding.checker import audio, codecs, dash, delivery, master, playlists, segments, text, trick, video
from transcoding.checker.load import load
from transcoding.checker.reader import WEB_LIMITS, Limits, WebReader, open_reader
from transcoding.checker.registry import MUST, RULES, SHOULD, Evidence, Finding, Report, in_order

__all__ = ["FAMILIES", "MUST", "RULES", "SHOULD", "Evidence", "Finding", "Limits", "Report", "check"]

# Importing a family registers its rules.
FAMILIES = (codecs, video, audio, text, trick, segments, playlists, master, delivery, dash)


def check(
    location: Path | str,
    *,
    key_for: Callable[[str], bytes] | None = None,
    limits: Limits | None = None,
    other_origins: bool = False,
    inside: bool = False,
) -> Report:
    """Every rule over the package in a folder, behind a playlist file, or at an http(s) URL.

    `key_for(uri)` gives the 16 bytes behind an EXT-X-KEY's URI as it is written; without it keys of a URL's own origin
    are fetched, elsewhere rules about samples are skipped. `other_origins`: a URL's playlists may name other servers.
    `inside`: the URL's server may stand at a private address (loopback, an internal network).

    Raises:
        TranscodingError: there is no playlist to begin with, or the package is beyond the limits.
    """
    if limits is None:
        limits = WEB_LIMITS if "://" in str(location) else Limits()
    reader = open_reader(location, limits, other_origins=other_origins, inside=inside)
    try:
        package = load(reader, key_for)
    finally:
        if isinstance(reader, WebReader):
            reader.close()
    return Report(str(location), tuple(rule.apply(package) for rule in in_order()))
