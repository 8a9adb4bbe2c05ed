"""Section 7: media segmentation, and what segments must be to be segments at all (H)."""

from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise

from transcoding.checker.model import Package, Rendition, Segment
from transcoding.checker.registry import MUST, SHOULD, Evidence, Skip, measured, ms, need, rule

_CLOCK = Fraction(1, 90_000)


def _timed(package: Package) -> list[Rendition]:
    return measured(package.role("video", "audio"), "audio or video")


def _joints(rendition: Rendition) -> Iterator[tuple[Segment, Fraction]]:
    """Each measured segment that follows another one without a declared break, and how far it is off its end."""
    for before, after in pairwise(rendition.segments):
        if before.timelines and after.timelines and not after.entry.discontinuity:
            yield after, after.timelines[0].start - before.timelines[0].end


@rule("H.1", MUST, "every file that is named can be read")
def files(package: Package) -> Iterator[Evidence]:
    """RFC 8216, 3: a playlist names resources; a missing one ends playback."""
    for fault in package.faults:
        if fault.kind == "file":
            yield Evidence(fault.file, fault.words, "a readable file of this package")


@rule("H.3", MUST, "segments and initialisation segments are what they claim to be")
def boxes(package: Package) -> Iterator[Evidence]:
    """RFC 8216, 3.1 to 3.5: MPEG-2 TS, fragmented MP4, packed audio or WebVTT whose parts fit into one another."""
    for fault in package.faults:
        if fault.kind == "boxes":
            yield Evidence(fault.file, fault.words, "well formed media")
    for rendition in package.renditions.values():
        for segment in rendition.segments:
            if segment.container == "unknown" and segment.entry.span is None:
                yield Evidence(package.short(segment.file), "no known media format", "TS, fMP4, packed, WebVTT")


@rule("H.8", MUST, "encrypted segments decrypt with their key")
def decrypts(package: Package) -> Iterator[Evidence]:
    """RFC 8216, 4.3.2.4 and 5.2: whole segments, CBC, PKCS7."""
    sealed = [s for r in package.renditions.values() for s in r.segments if s.entry.key is not None]
    if not sealed:
        raise Skip("not encrypted")
    faults = [fault for fault in package.faults if fault.kind == "key"]
    for fault in faults:
        yield Evidence(fault.file, fault.words, "media behind its key")
    if not faults and all(segment.sealed or not segment.container for segment in sealed):
        raise Skip("encrypted, and no key was given")


@rule("7.1", MUST, "media is continuous across segments")
def continuous(package: Package) -> Iterator[Evidence]:
    """No hole of more than a frame between or within segments that no discontinuity announces."""
    for rendition in _timed(package):
        for segment, off in _joints(rendition):
            line = segment.timelines[0]
            if abs(off) > max(line.longest, _CLOCK):
                yield Evidence(package.short(segment.file), f"begins {ms(off)} off the end before", "at that end")
        for segment in rendition.measured:
            line = segment.timelines[0]
            if line.gap > max(line.longest, _CLOCK):
                yield Evidence(package.short(segment.file), f"{ms(line.gap)} between fragments", "none")


@rule("7.2", MUST, "continuity counters of transport streams are sequential")
def counters(package: Package) -> Iterator[Evidence]:
    streams = [r for r in package.renditions.values() if "ts" in r.containers]
    if not streams:
        raise Skip("no transport streams")
    for rendition in streams:
        for segment in rendition.segments:
            if segment.stray_counters and not segment.entry.discontinuity:
                found = f"{segment.stray_counters} counters that do not follow"
                yield Evidence(package.short(segment.file), found, "none")


@rule("7.3", MUST, "the decode time of a segment follows from the one before")
def decode_times(package: Package) -> Iterator[Evidence]:
    """Exactly: tfdt is the sum of all durations, in ticks."""
    for rendition in _timed(package):
        for segment, off in _joints(rendition):
            if off:
                line = segment.timelines[0]
                wanted = f"{float(line.start - off):.6f} s"
                yield Evidence(package.short(segment.file), f"tfdt says {float(line.start):.6f} s", wanted)
        for segment in rendition.measured:
            if segment.timelines[0].gap:
                yield Evidence(package.short(segment.file), f"fragments {ms(segment.timelines[0].gap)} off", "0")


@rule("7.4", MUST, "video segments start with an IDR picture")
def idr_start(package: Package) -> Iterator[Evidence]:
    """By the units of the first sample and by its flags, which are what players read."""
    for rendition in measured(package.role("video"), "video"):
        for segment in rendition.measured:
            line = segment.timelines[0]
            if line.first_key is False:
                yield Evidence(package.short(segment.file), "its first picture is no IDR", "an IDR")
            elif not line.first_sync:
                yield Evidence(package.short(segment.file), "its first sample is not flagged as sync", "the flag")


@rule("7.5", SHOULD, "the target duration is 6 s")
def target(package: Package) -> Iterator[Evidence]:
    """A film that is shorter than that has no segment to be so long."""
    for rendition in need(package.role("video", "audio"), "audio or video"):
        listing = rendition.listing
        if listing.target is not None and listing.target != 6 and rendition.duration > 6:
            yield Evidence(package.short(rendition.name), f"EXT-X-TARGETDURATION:{listing.target}", "6")


@rule("7.6", SHOULD, "segments last about 6 s")
def lengths(package: Package) -> Iterator[Evidence]:
    """Half a second granted; the last one, and those at a discontinuity, may be shorter."""
    for rendition in need(package.role("video", "audio"), "audio or video"):
        entries = rendition.listing.entries
        for entry, after in pairwise(entries):
            off = entry.duration - 6
            if off > Fraction(1, 2) or (off < -Fraction(1, 2) and not after.discontinuity):
                yield Evidence(package.short(rendition.name), f"a segment of {ms(entry.duration)}", "6 s")
                break


@rule("7.7", MUST, "no segment is more than half a second longer than the target duration")
def longest(package: Package) -> Iterator[Evidence]:
    for rendition in package.renditions.values():
        wanted = rendition.listing.target
        for segment in rendition.segments if wanted is not None else ():
            told = segment.entry.duration
            real = max((line.end - line.start for line in segment.timelines[:1]), default=Fraction(0))
            # Of an I-frame's range only the first sample is shown, for as long as the playlist says.
            length = told if rendition.role == "trick" else max(told, real)
            if length - (wanted or 0) > Fraction(1, 2):
                yield Evidence(package.short(segment.file), ms(length), f"{wanted}.5 s at most")
