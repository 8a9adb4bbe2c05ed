"""Section 8: media playlists, and what playlists must be to be playlists at all (H)."""

from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise

from transcoding.checker.model import Package, Rendition, spread
from transcoding.checker.registry import MUST, SHOULD, Evidence, Skip, measured, ms, need, need_master, rule

_ROUNDING = Fraction(1, 1000)
_JUMP = 1  # second
_MOST_TEXT = 1 << 20  # a foreign parser is not trusted with more


def _heard_and_seen(package: Package) -> list[Rendition]:
    return [r for r in need(package.role("video", "audio"), "audio or video") if r.listing.entries]


def _live(package: Package) -> list[Rendition]:
    found = [r for r in _heard_and_seen(package) if not r.listing.is_whole and r.listing.kind != "VOD"]
    if not found:
        raise Skip("on demand")
    return found


@rule("H.2", MUST, "playlists are well formed")
def well_formed(package: Package) -> Iterator[Evidence]:
    """RFC 8216, 4: by this reader, and by a second parser, which must find as many segments."""
    import m3u8

    for fault in package.faults:
        if fault.kind == "playlist":
            yield Evidence(fault.file, fault.words, "a playlist by RFC 8216")
    for name, text in package.texts.items():
        if len(text) > _MOST_TEXT:
            continue
        listing = package.master if package.master and package.master.uri == name else None
        known = package.renditions.get(name)
        listing = known.listing if known else listing
        try:
            other = m3u8.loads(text)
        except Exception as error:  # noqa: BLE001 - whatever a foreign parser raises over hostile text is the finding
            yield Evidence(package.short(name), f"another parser fails: {str(error)[:80] or type(error).__name__}", "")
            continue
        if listing is not None and not listing.is_master and len(other.segments) != len(listing.entries):
            found = f"{len(listing.entries)} or {len(other.segments)} segments, by who reads it"
            yield Evidence(package.short(name), found, "the same for all")


@rule("H.6", MUST, "EXT-X-VERSION is high enough for what a playlist uses")
def versions(package: Package) -> Iterator[Evidence]:
    """RFC 8216, 7: fractions of a second 3, byte ranges and I-frames 4, EXT-X-MAP 6 (5 in I-frame playlists)."""
    for rendition in package.renditions.values():
        listing = rendition.listing
        wanted = 3 if any(entry.duration.denominator > 1 for entry in listing.entries) else 1
        if any(entry.span for entry in listing.entries) or "X-I-FRAMES-ONLY" in listing.tags:
            wanted = 4
        if "X-MAP" in listing.tags:
            wanted = 5 if "X-I-FRAMES-ONLY" in listing.tags else 6
        if listing.version < wanted:
            yield Evidence(package.short(rendition.name), f"version {listing.version}", f"{wanted} at least")


@rule("8.1", MUST, "EXTINF durations add up to the real ones within a frame")
def durations(package: Package) -> Iterator[Evidence]:
    """Over any run of neighbouring segments: what is summed up from the start may drift by one video frame."""
    pictures = [r.frame for r in package.role("video") if r.frame]
    for rendition in measured(package.role("video", "audio"), "audio or video"):
        told = real = Fraction(0)
        drift = [Fraction(0)]
        for segment in rendition.measured:
            line = segment.timelines[0]
            told, real = told + segment.entry.duration, real + line.end - line.start
            drift.append(told - real)
        allowed = (max(pictures) if pictures else rendition.frame or Fraction(0)) + _ROUNDING
        if spread(drift) > allowed:
            yield Evidence(package.short(rendition.name), f"off by {ms(spread(drift))}", f"{ms(allowed)} at most")


@rule("8.2", MUST, "audio and video playlists have the same target duration")
def targets(package: Package) -> Iterator[Evidence]:
    found = {r.listing.target for r in _heard_and_seen(package)}
    if len(found) > 1:
        for rendition in _heard_and_seen(package):
            yield Evidence(package.short(rendition.name), f"EXT-X-TARGETDURATION:{rendition.listing.target}", "one")


def _granted(renditions: list[Rendition]) -> Fraction:
    """One frame of the coarsest of them: what cannot be cut finer is as long as it can be."""
    frames = [rendition.frame for rendition in renditions if rendition.frame]
    return max(frames, default=Fraction(1, 20)) + _ROUNDING


@rule("8.3", MUST, "audio and video playlists last equally long")
def same_duration(package: Package) -> Iterator[Evidence]:
    heard = [r for r in package.role("audio") if r.listing.entries]
    seen = [r for r in package.role("video") if r.listing.entries]
    if not heard or not seen:
        raise Skip("no audio of its own")
    length = seen[0].duration
    for rendition in heard:
        if abs(rendition.duration - length) > _granted([*heard, *seen]):
            yield Evidence(package.short(rendition.name), ms(rendition.duration), f"{ms(length)} as the picture")


@rule("8.4", MUST, "live playlists carry EXT-X-PROGRAM-DATE-TIME")
def date_time(package: Package) -> Iterator[Evidence]:
    for rendition in _live(package):
        if "X-PROGRAM-DATE-TIME" not in rendition.listing.tags:
            yield Evidence(package.short(rendition.name), "no EXT-X-PROGRAM-DATE-TIME", "the tag")


@rule("8.6", MUST, "playlists of films on demand say EXT-X-PLAYLIST-TYPE:VOD")
def on_demand(package: Package) -> Iterator[Evidence]:
    """A playlist with an end and no type is taken for one on demand; an event that is over may say EVENT."""
    whole = [r for r in package.renditions.values() if r.listing.is_whole]
    if not whole:
        raise Skip("live")
    for rendition in whole:
        if rendition.listing.kind not in ("VOD", "EVENT"):
            found = f"EXT-X-PLAYLIST-TYPE {rendition.listing.kind or 'absent'}"
            yield Evidence(package.short(rendition.name), found, "VOD")


@rule("8.7", MUST, "all playlists on demand cover the same time")
def same_range(package: Package) -> Iterator[Evidence]:
    """Within one frame of the coarsest stream. Starts are compared where tracks tell them, ends by the playlists."""
    found = [r for r in package.renditions.values() if r.listing.kind == "VOD" and r.listing.entries]
    if len(found) < 2:
        raise Skip("fewer than two playlists on demand")
    judged = [r for r in found if r.role in ("video", "audio")] or found
    granted = _granted(judged)
    length = max(rendition.duration for rendition in judged)
    for rendition in found:
        if abs(rendition.duration - length) > granted:
            yield Evidence(package.short(rendition.name), f"lasts {ms(rendition.duration)}", ms(length))
    starts = {r.name: r.segments[0].timelines[0].start for r in found if r.segments[0].timelines}
    first = min(starts.values(), default=Fraction(0))
    for name, start in starts.items():
        if start - first > granted:
            yield Evidence(package.short(name), f"begins at {ms(start)}", ms(first))


@rule("8.9", MUST, "audio streams of their own are declared by EXT-X-MEDIA")
def declared_audio(package: Package) -> Iterator[Evidence]:
    """A variant that promises sound holds it itself or names a group that has it."""
    need_master(package)
    judged = False
    for variant in package.video_variants:
        rendition = package.renditions.get(variant.uri)
        if rendition is None or not rendition.tracks or not any(codec.is_audio for codec in variant.codecs):
            continue
        judged = True
        if not rendition.sounds and not package.group(variant):
            found = f"{variant.attributes.get('CODECS')} without sound and without an AUDIO group"
            yield Evidence(package.short(variant.uri), found, "an EXT-X-MEDIA of TYPE=AUDIO")
    if not judged:
        raise Skip("no variant with sound whose tracks could be read")


@rule("8.10", MUST, "every EXT-X-MEDIA but video tells its language")
def languages(package: Package) -> Iterator[Evidence]:
    need_master(package)
    tags = [media for media in package.media() if media.kind != "VIDEO"]
    if not tags:
        raise Skip("no EXT-X-MEDIA")
    for media in tags:
        if not media.language:
            yield Evidence(f"line {media.line}", f"{media.kind} {media.name!r} without LANGUAGE", "LANGUAGE")


@rule("8.11", MUST, "live playlists list six segments at least")
def six_segments(package: Package) -> Iterator[Evidence]:
    for rendition in _live(package):
        if len(rendition.listing.entries) < 6:
            yield Evidence(package.short(rendition.name), f"{len(rendition.listing.entries)} segments", "6")


@rule("8.13", MUST, "breaks of the encoding are marked as discontinuities")
def breaks(package: Package) -> Iterator[Evidence]:
    """What shows: another set of tracks, or a clock that jumps by more than a second, without the tag."""
    for rendition in measured(package.role("video", "audio"), "audio or video"):
        for before, after in pairwise(rendition.segments):
            if after.entry.discontinuity:
                continue
            where = package.short(after.file)
            if before.tracks and after.tracks and before.tracks != after.tracks:
                yield Evidence(where, "another initialisation segment", "EXT-X-DISCONTINUITY")
            elif before.timelines and after.timelines:
                off = after.timelines[0].start - before.timelines[0].end
                if abs(off) > _JUMP:
                    yield Evidence(where, f"the clock jumps by {ms(off)}", "EXT-X-DISCONTINUITY")


@rule("8.14", MUST, "changes of the frame rate are marked as discontinuities")
def rate_changes(package: Package) -> Iterator[Evidence]:
    """Between segments of at least half a second; a film whose frames are unevenly spaced is not judged."""
    for rendition in measured(package.role("video"), "video"):
        last: Fraction | None = None
        for segment in rendition.measured:
            line = segment.timelines[0]
            steady = line.shortest > 0 and line.longest <= line.shortest * Fraction(11, 10)
            if not steady or line.end - line.start < Fraction(1, 2):
                continue
            rate = line.samples / (line.end - line.start)
            if last is not None and not segment.entry.discontinuity and abs(rate / last - 1) > Fraction(1, 100):
                found = f"{float(rate):.2f} after {float(last):.2f} frames/s"
                yield Evidence(package.short(segment.file), found, "EXT-X-DISCONTINUITY")
            last = rate


@rule("8.15", MUST, "all playlists have their discontinuities at the same times")
def same_breaks(package: Package) -> Iterator[Evidence]:
    found = [r for r in package.renditions.values() if r.role in ("video", "audio") and r.listing.entries]
    times: dict[str, list[Fraction]] = {}
    for rendition in found:
        at, breaks = Fraction(0), []
        for entry in rendition.listing.entries:
            if entry.discontinuity and at:
                breaks.append(at)
            at += entry.duration
        times[rendition.name] = breaks
    if not any(times.values()):
        raise Skip("no discontinuities")
    granted = _granted(found)
    wanted = max(times.values(), key=len)
    for name, breaks in times.items():
        same = len(breaks) == len(wanted)
        if not same or any(abs(a - b) > granted for a, b in zip(breaks, wanted, strict=True)):
            told = ", ".join(ms(at) for at in breaks[:5]) or "none"
            yield Evidence(package.short(name), f"at {told}", ", ".join(ms(at) for at in wanted[:5]))


@rule("8.17", MUST, "live playlists with discontinuities carry EXT-X-DISCONTINUITY-SEQUENCE")
def break_numbers(package: Package) -> Iterator[Evidence]:
    broken = [r for r in _live(package) if any(entry.discontinuity for entry in r.listing.entries)]
    if not broken:
        raise Skip("no discontinuities")
    for rendition in broken:
        if "X-DISCONTINUITY-SEQUENCE" not in rendition.listing.tags:
            yield Evidence(package.short(rendition.name), "no EXT-X-DISCONTINUITY-SEQUENCE", "the tag")


@rule("8.20", MUST, "playlists of fragmented MP4 carry EXT-X-MAP")
def maps(package: Package) -> Iterator[Evidence]:
    found = [r for r in package.renditions.values() if "fmp4" in r.containers]
    if not found:
        raise Skip("no fragmented MP4 that could be read")
    for rendition in found:
        bare = [segment for segment in rendition.segments if segment.entry.init is None]
        if bare:
            yield Evidence(package.short(rendition.name), f"{len(bare)} segments without EXT-X-MAP", "EXT-X-MAP")


@rule("8.22", SHOULD, "all playlists have segment boundaries at the same times")
def boundaries(package: Package) -> Iterator[Evidence]:
    """Within one frame of the coarsest stream."""
    found = _heard_and_seen(package)
    if len(found) < 2:
        raise Skip("fewer than two playlists")
    granted = _granted(found)

    def cuts(rendition: Rendition) -> list[Fraction]:
        at, times = Fraction(0), []
        for entry in rendition.listing.entries[:-1]:
            at += entry.duration
            times.append(at)
        return times

    wanted = cuts(found[0])
    for rendition in found[1:]:
        own = cuts(rendition)
        off = next((i for i, (a, b) in enumerate(zip(own, wanted, strict=False)) if abs(a - b) > granted), None)
        if off is not None:
            yield Evidence(package.short(rendition.name), f"a cut at {ms(own[off])}", ms(wanted[off]))
        elif len(own) != len(wanted):
            yield Evidence(package.short(rendition.name), f"{len(own) + 1} segments", f"{len(wanted) + 1}")
