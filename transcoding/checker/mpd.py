"""Read a static MPD (ISO/IEC 23009-1) with segment templates and timelines, as far as sanity needs it."""

import re
from fractions import Fraction
from typing import Any

from transcoding.checker.model import Dash, DashTrack, Package
from transcoding.checker.reader import Reader, UnreadableError

NAME = "manifest.mpd"
_SPACE = "{urn:mpeg:dash:schema:mpd:2011}"
_DURATION = re.compile(r"PT(?:([0-9.]{1,12})H)?(?:([0-9.]{1,12})M)?(?:([0-9.]{1,18})S)?")
_MOST_SEGMENTS = 200_000


def load(reader: Reader, package: Package) -> Dash | None:
    """The MPD beside the first playlist; None where there is none."""
    import xml.etree.ElementTree as ET

    try:
        name = reader.resolve(reader.start, NAME)
        if not package.is_web and not reader.exists(name):
            return None
        data = reader.read(name, reader.limits.playlist_bytes)
    except UnreadableError:
        return None
    try:
        # No document type means nothing to expand; a NUL would be UTF-16, which could hide one.
        if b"\0" in data or b"<!" in data.replace(b"<!--", b""):
            raise ValueError("declares a document type or entities, or is not UTF-8")
        root = ET.fromstring(data)  # noqa: S314 - looked through above
        return _read(reader, name, root, package)
    except (ValueError, SyntaxError, ZeroDivisionError, UnreadableError) as error:
        return Dash(name, None, (), (str(error) or type(error).__name__,))


def _read(reader: Reader, name: str, root: Any, package: Package) -> Dash:
    if root.tag != f"{_SPACE}MPD":
        return Dash(name, None, (), (f"the root element is {root.tag[:80]}",))
    tracks = [
        _track(reader, name, adaptation, representation)
        for adaptation in root.iter(f"{_SPACE}AdaptationSet")
        for representation in adaptation.iter(f"{_SPACE}Representation")
    ]
    faults = () if tracks else ("it has no Representation",)
    listed = {file for track in tracks for file in (*track.files, *([track.init] if track.init else []))}
    # What the playlists' segments were read from is there; only others are looked for.
    read = {segment.file for r in package.renditions.values() for segment in r.segments if segment.size is not None}
    read |= package.inits
    missing = tuple(sorted(file for file in listed - read if not reader.exists(file))[:20])
    return Dash(name, _duration(root.get("mediaPresentationDuration")), tuple(tracks), faults, missing)


def _duration(text: str | None) -> Fraction | None:
    match = _DURATION.fullmatch(text or "")
    if match is None or not any(match.groups()):
        return None
    hours, minutes, seconds = (Fraction(word or 0) for word in match.groups())
    return hours * 3600 + minutes * 60 + seconds


def _track(reader: Reader, base: str, adaptation: Any, representation: Any) -> DashTrack:
    name = representation.get("id", "?")
    template = representation.find(f"{_SPACE}SegmentTemplate")
    template = adaptation.find(f"{_SPACE}SegmentTemplate") if template is None else template
    codecs = representation.get("codecs") or adaptation.get("codecs") or ""
    content = adaptation.get("contentType") or (adaptation.get("mimeType") or "").split("/")[0]
    lone = representation.find(f"{_SPACE}BaseURL")
    if template is None and lone is not None:
        return DashTrack(name, codecs, None, (reader.resolve(base, (lone.text or "").strip()),), (), content)
    if template is None:
        raise ValueError(f"representation {name} has no SegmentTemplate")
    clock, spans = int(template.get("timescale", "1")), []
    at = 0
    for run in template.iter(f"{_SPACE}S"):
        at, length = int(run.get("t", at)), int(run.get("d", "0"))
        repeats = int(run.get("r", "0")) + 1
        if length <= 0 or repeats <= 0 or len(spans) + repeats > _MOST_SEGMENTS:
            raise ValueError(f"representation {name}: an S element of {length} ticks, {repeats} times")
        for _ in range(repeats):
            spans.append((Fraction(at, clock), Fraction(length, clock)))
            at += length
    first, media = int(template.get("startNumber", "1")), template.get("media", "")

    def fill(pattern: str, number: int) -> str:
        text = re.sub(r"\$Number(?:%0([1-9])d)?\$", lambda match: str(number).zfill(int(match[1] or 1)), pattern)
        return reader.resolve(base, text.replace("$RepresentationID$", name).replace("$$", "$"))

    init = template.get("initialization")
    files = tuple(fill(media, first + number) for number in range(len(spans)))
    return DashTrack(name, codecs, fill(init, 0) if init else None, files, tuple(spans), content)
