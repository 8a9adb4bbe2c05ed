"""DASH sanity: an MPD beside the playlists describes the same files, truly."""

from collections.abc import Iterator
from fractions import Fraction

from transcoding.checker.model import Dash, Package
from transcoding.checker.registry import MUST, Evidence, Skip, ms, rule

_ROUNDING = Fraction(1, 1000)


def _dash(package: Package) -> Dash:
    if package.dash is None:
        raise Skip("no manifest.mpd")
    return package.dash


def _readable(package: Package) -> Dash:
    dash = _dash(package)
    if dash.faults:
        raise Skip("the MPD could not be read")
    return dash


@rule("D.1", MUST, "the MPD is well formed")
def well_formed(package: Package) -> Iterator[Evidence]:
    """ISO/IEC 23009-1, 5.3: Representations with segment templates and timelines. No document type."""
    dash = _dash(package)
    for words in dash.faults:
        yield Evidence(dash.name, words, "an MPD")


@rule("D.2", MUST, "the files that the MPD names exist")
def files(package: Package) -> Iterator[Evidence]:
    dash = _readable(package)
    for name in dash.missing:
        yield Evidence(dash.name, f"{name} is not there", "a file")


@rule("D.3", MUST, "the MPD's timelines are those of the segments")
def timelines(package: Package) -> Iterator[Evidence]:
    """Start and length of each, exactly, where the samples could be read."""
    dash = _readable(package)
    found = {
        segment.file: segment.timelines[0] for r in package.renditions.values() for segment in r.measured
    }  # fmt: skip
    for track in dash.tracks:
        for file, (start, length) in zip(track.files, track.spans, strict=bool(track.spans)):
            line = found.get(file)
            if line is not None and (start, length) != (line.start, line.end - line.start):
                told = f"{float(start):.6f} s for {float(length):.6f} s"
                yield Evidence(file, told, f"{float(line.start):.6f} s for {float(line.end - line.start):.6f} s")
                break
    if not found:
        raise Skip("no segment could be read")


@rule("D.4", MUST, "the MPD describes the files and codecs of the playlists")
def same_files(package: Package) -> Iterator[Evidence]:
    """Its Representations are, file for file, among the video and audio playlists; and none of those is left out."""
    dash = _readable(package)
    listed = {
        tuple(segment.file for segment in r.segments): r for r in package.role("video", "audio", "trick") if r.segments
    }  # fmt: skip
    for track in dash.tracks:
        if not track.spans:  # one file, such as the subtitles
            continue
        rendition = listed.pop(track.files, None)
        if rendition is None:
            yield Evidence(dash.name, f"representation {track.name}: other files than any playlist's", "the same files")
            continue
        held = {codec.text.lower() for codec in rendition.codecs}
        if held and track.codecs.lower() not in held:
            yield Evidence(dash.name, f"representation {track.name}: codecs={track.codecs}", ", ".join(sorted(held)))
    for rendition in (rendition for rendition in listed.values() if rendition.role != "trick"):
        yield Evidence(dash.name, f"no representation of {rendition.name}", "one")


@rule("D.5", MUST, "the MPD lasts as long as the playlists")
def durations(package: Package) -> Iterator[Evidence]:
    """Within one frame of the coarsest stream."""
    dash = _readable(package)
    found = [r for r in package.role("video", "audio") if r.listing.entries]
    if dash.duration is None or not found:
        raise Skip("no duration is told")
    granted = max([r.frame for r in found if r.frame], default=Fraction(1, 20)) + _ROUNDING
    length = max(rendition.duration for rendition in found)
    if abs(dash.duration - length) > granted:
        yield Evidence(dash.name, f"mediaPresentationDuration {ms(dash.duration)}", ms(length))
