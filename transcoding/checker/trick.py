"""Section 6: I-frame playlists for scrubbing and scanning."""

from collections.abc import Iterator
from fractions import Fraction

from transcoding.checker.model import Package, Rendition
from transcoding.checker.playlist import Variant
from transcoding.checker.registry import MUST, SHOULD, Evidence, Skip, need_master, rule


def _tricks(package: Package) -> list[Variant]:
    need_master(package)
    if not package.tricks:
        raise Skip("no I-frame playlists")
    return package.tricks


def _lists(package: Package) -> list[tuple[Variant, Rendition]]:
    return [(v, package.renditions[v.uri]) for v in _tricks(package) if v.uri in package.renditions]


@rule("6.1", MUST, "I-frame playlists exist")
def exist(package: Package) -> Iterator[Evidence]:
    need_master(package)
    if not package.video_variants:
        raise Skip("no video variants")
    if not package.tricks:
        yield Evidence(
            package.short(package.master.uri if package.master else ""), "no EXT-X-I-FRAME-STREAM-INF", "one"
        )


@rule("6.2", SHOULD, "there is an I-frame rendition of one frame a second")
def dense(package: Package) -> Iterator[Evidence]:
    known = [r for _, r in _lists(package) if r.listing.entries and r.duration > 0]
    if not known:
        raise Skip("no I-frame playlist could be read")
    best = max(len(r.listing.entries) / r.duration for r in known)
    # Granted: the last frame of a film that is no whole number of seconds, and rates such as 29.97.
    if best < Fraction(9, 10):
        yield Evidence(package.short(known[0].name), f"{float(best):.2f} frames/s at most", "1")


@rule("6.5", SHOULD, "I-frame bit rates are those of the same size's variant times frames a second, over eight")
def rates(package: Package) -> Iterator[Evidence]:
    """Held against the lightest variant of that size, with a factor of two granted either way, as content differs."""
    judged = False
    for variant, rendition in _lists(package):
        same = [v for v in package.video_variants if v.resolution == variant.resolution and v.average]
        if not same or rendition.rates is None or not rendition.duration:
            continue
        judged = True
        regular = min(v.average or 0 for v in same)
        wanted = regular * len(rendition.listing.entries) / rendition.duration / 8
        if not wanted / 2 <= rendition.rates[0] <= wanted * 2:
            yield Evidence(package.short(variant.uri), f"{rendition.rates[0]} bit/s", f"about {round(wanted)} bit/s")
    if not judged:
        raise Skip("no I-frame playlist of a variant's size")


@rule("6.6", SHOULD, "there are several I-frame playlists with different bit rates")
def several(package: Package) -> Iterator[Evidence]:
    found = {variant.bandwidth for variant in _tricks(package)}
    if len(found) < 2:
        yield Evidence("", f"{len(found)} bit rate", "several")


@rule("6.8", MUST, "I-frame playlists carry EXT-X-I-FRAMES-ONLY")
def only(package: Package) -> Iterator[Evidence]:
    for _, rendition in _lists(package):
        if "X-I-FRAMES-ONLY" not in rendition.listing.tags:
            yield Evidence(package.short(rendition.name), "no EXT-X-I-FRAMES-ONLY", "the tag")


@rule("6.9", MUST, "the peak bit rate of I-frame playlists is the measured one")
def peak(package: Package) -> Iterator[Evidence]:
    """Granted: ten per cent, as 1.27 grants it."""
    judged = False
    for variant, rendition in _lists(package):
        if rendition.rates is None or variant.bandwidth is None:
            continue
        judged = True
        measured = rendition.rates[1]
        if abs(variant.bandwidth - measured) * 10 > measured:
            found = f"BANDWIDTH={variant.bandwidth}, measured {measured}"
            yield Evidence(package.short(variant.uri), found, "within 10 %")
    if not judged:
        raise Skip("no I-frame playlist whose sizes are known")


@rule("6.10", MUST, "I-frame segments in fragmented MP4 include their moof")
def movie_fragments(package: Package) -> Iterator[Evidence]:
    judged = False
    for _, rendition in _lists(package):
        for segment in rendition.segments:
            if segment.sealed or (not rendition.tracks and segment.container != "fmp4"):
                continue
            judged |= segment.container is not None
            if segment.container is not None and not segment.fragments:
                yield Evidence(package.short(segment.file), f"no moof in {segment.container} data", "one")
    if not judged:
        raise Skip("no fragmented MP4 that could be read")


@rule("6.14", SHOULD, "some I-frames are H.264")
def some_avc(package: Package) -> Iterator[Evidence]:
    words = {codec.family for variant in _tricks(package) for _, codec in package.codecs(variant)}
    if not words:
        raise Skip("no codec is known")
    if "avc" not in words:
        yield Evidence("", ", ".join(sorted(words)), "H.264")


@rule("6.16", MUST, "SDR I-frames exist")
def some_sdr(package: Package) -> Iterator[Evidence]:
    if all(variant.dynamic_range != "SDR" for variant in _tricks(package)):
        yield Evidence("", "every I-frame playlist is HDR", "an SDR one")


@rule("H.9", MUST, "every segment of an I-frame playlist is one I-frame")
def single_frames(package: Package) -> Iterator[Evidence]:
    """RFC 8216, 4.3.3.6. A byte range may end inside of a fragment: then its first sample is the frame."""
    judged = False
    for _, rendition in _lists(package):
        for segment in rendition.measured:
            judged, line = True, segment.timelines[0]
            if line.first_key is False:
                yield Evidence(package.short(segment.file), "begins without an IDR picture", "one")
            elif line.samples > 1 and segment.entry.span is None:
                yield Evidence(package.short(segment.file), f"{line.samples} frames", "1")
    if not judged:
        raise Skip("no I-frame segment could be read")
