"""Sections 4 and 5: captions and subtitles."""

from bisect import bisect_right
from collections.abc import Iterator
from fractions import Fraction
from itertools import accumulate

from transcoding.checker.model import Cue, Package, Rendition
from transcoding.checker.playlist import Media
from transcoding.checker.registry import MUST, SHOULD, Evidence, Skip, ms, need, need_master, rule

_SPOKEN = "public.accessibility.transcribes-spoken-dialog"
_SOUNDS = "public.accessibility.describes-music-and-sound"


def _tags(package: Package, kind: str = "SUBTITLES") -> list[Media]:
    found = package.media(kind)
    if not found:
        raise Skip(f"no {kind.lower().replace('-', ' ')}")
    return found


def _texts(package: Package) -> list[Rendition]:
    return need(package.role("text"), "subtitles")


@rule("4.1", SHOULD, "captions or subtitles are provided")
def captions(package: Package) -> Iterator[Evidence]:
    need_master(package)
    if not package.media("SUBTITLES") and not package.media("CLOSED-CAPTIONS"):
        yield Evidence("", "neither subtitles nor closed captions", "some")


@rule("4.4", MUST, "closed captions tell their language")
def caption_language(package: Package) -> Iterator[Evidence]:
    for media in _tags(package, "CLOSED-CAPTIONS"):
        if not media.language:
            yield Evidence(package.line(media), f"{media.name!r} without LANGUAGE", "LANGUAGE")


@rule("4.5", MUST, "subtitles for the deaf carry both characteristics")
def for_the_deaf(package: Package) -> Iterator[Evidence]:
    """Judged where one of the two stands or the name says SDH; others cannot be told apart."""
    meant = [m for m in _tags(package) if {_SPOKEN, _SOUNDS} & m.characteristics or "SDH" in m.name.split()]
    if not meant:
        raise Skip("no subtitles for the deaf")
    for media in meant:
        if not {_SPOKEN, _SOUNDS} <= media.characteristics:
            found = media.attributes.get("CHARACTERISTICS", "no CHARACTERISTICS")
            yield Evidence(package.line(media), found, f"{_SPOKEN},{_SOUNDS}")


@rule("4.6", MUST, "subtitles for the deaf may be selected automatically")
def deaf_selected(package: Package) -> Iterator[Evidence]:
    meant = [media for media in _tags(package) if _SPOKEN in media.characteristics]
    if not meant:
        raise Skip("no subtitles for the deaf")
    for media in meant:
        if media.attributes.get("AUTOSELECT") != "YES":
            yield Evidence(package.line(media), f"AUTOSELECT={media.attributes.get('AUTOSELECT')}", "YES")


@rule("4.7", MUST, "subtitles tell their language")
def subtitle_language(package: Package) -> Iterator[Evidence]:
    for media in _tags(package):
        if not media.language:
            yield Evidence(package.line(media), f"{media.name!r} without LANGUAGE", "LANGUAGE")


@rule("5.2", MUST, "subtitles are WebVTT, or IMSC1 in fragmented MP4")
def subtitle_format(package: Package) -> Iterator[Evidence]:
    for rendition in _texts(package):
        for segment in rendition.segments:
            if segment.container is None:
                continue
            words = {track.codec[:4] for track in segment.tracks}
            if segment.container != "webvtt" and not (segment.container == "fmp4" and words <= {"stpp"}):
                found = f"{segment.container} {' '.join(sorted(words))}".strip()
                yield Evidence(package.short(segment.file), found, "WebVTT or stpp")


@rule("5.3", MUST, "WebVTT has an X-TIMESTAMP-MAP")
def timestamp_map(package: Package) -> Iterator[Evidence]:
    """In text files: WebVTT in fragmented MP4 (wvtt) breaks 5.2. A segment without cues is asked for it too."""
    files = [s for rendition in _texts(package) for s in rendition.segments if s.container == "webvtt"]
    if not files:
        raise Skip("no WebVTT could be read")
    for segment in files:
        if not segment.mapped:
            yield Evidence(package.short(segment.file), "no X-TIMESTAMP-MAP", "X-TIMESTAMP-MAP=MPEGTS:…,LOCAL:…")


@rule("5.5", MUST, "subtitle playlists exist for the whole film")
def whole_subtitles(package: Package) -> Iterator[Evidence]:
    texts, pictures = _texts(package), [r for r in package.role("video") if r.listing.entries]
    if not pictures:
        raise Skip("no video")
    length = min(rendition.duration for rendition in pictures)
    for rendition in texts:
        if length - rendition.duration > Fraction(1, 2):
            yield Evidence(package.short(rendition.name), ms(rendition.duration), ms(length))


def _cues(rendition: Rendition) -> set[Cue]:
    return {cue for segment in rendition.segments for cue in segment.cues}


@rule("5.8", MUST, "regular subtitles contain the forced ones of their language")
def forced_contained(package: Package) -> Iterator[Evidence]:
    """Judged on WebVTT: each forced cue's time lies inside of a regular cue."""
    tags = _tags(package)
    judged = False
    for forced in (m for m in tags if m.attributes.get("FORCED") == "YES" and m.uri in package.renditions):
        regular = [m for m in tags if m.language == forced.language and m.attributes.get("FORCED") != "YES"]
        known = [package.renditions[m.uri] for m in regular if m.uri in package.renditions and m.uri]
        own = package.renditions[forced.uri or ""]
        if not known or own.containers != {"webvtt"}:
            continue
        judged = True
        shown = sorted((cue.start, cue.end) for rendition in known for cue in _cues(rendition))
        starts, last = [start for start, _ in shown], list(accumulate((end for _, end in shown), max))
        for cue in sorted(_cues(own), key=lambda cue: cue.start):
            before = bisect_right(starts, cue.start)
            if not before or last[before - 1] < cue.end:
                yield Evidence(package.short(own.name), f"{cue.text[:40]!r} at {ms(cue.start)} is not in them", "it is")
    if not judged:
        raise Skip("no language with forced and regular WebVTT subtitles")


@rule("5.10", SHOULD, "IMSC1 subtitles are named in CODECS")
def subtitle_codecs(package: Package) -> Iterator[Evidence]:
    """WebVTT may be named (wvtt), IMSC1 should be (stpp.ttml.im1t)."""
    imsc = {r.name for r in _texts(package) if any(track.codec.startswith("stpp") for track in r.tracks)}
    if not imsc:
        raise Skip("no IMSC1")
    for variant in package.variants:
        used = any(media.uri in imsc for media in package.group(variant, "SUBTITLES"))
        if used and not any(codec.family == "imsc" for codec in variant.codecs):
            yield Evidence(package.line(variant), variant.attributes.get("CODECS", ""), "stpp.ttml.im1t among them")


@rule("5.11", SHOULD, "forced subtitles are selected automatically")
def forced_selected(package: Package) -> Iterator[Evidence]:
    forced = [media for media in _tags(package) if media.attributes.get("FORCED") == "YES"]
    if not forced:
        raise Skip("no forced subtitles")
    for media in forced:
        if media.attributes.get("AUTOSELECT") != "YES":
            yield Evidence(package.line(media), f"AUTOSELECT={media.attributes.get('AUTOSELECT')}", "YES")
