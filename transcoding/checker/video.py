"""Section 1: frame rates, colours and bit rates of video; and 13.7: its encryption."""

from collections.abc import Iterator
from fractions import Fraction

from transcoding.checker.model import Package, Rendition
from transcoding.checker.playlist import Variant
from transcoding.checker.registry import MUST, SHOULD, Evidence, Skip, measured, ms, need, rule

_NATURAL = tuple(Fraction(rate) for rate in ("24000/1001", "24", "25", "30000/1001", "30", "50", "60000/1001", "60"))


def _pictures(package: Package) -> list[Rendition]:
    return need(package.role("video"), "video")


@rule("1.13", SHOULD, "IDR pictures come every two seconds")
def key_distance(package: Package) -> Iterator[Evidence]:
    """Measured by the units of the samples; half a frame is granted to rates that do not divide two seconds."""
    for rendition in measured(_pictures(package), "video"):
        last: Fraction | None = None
        for segment in rendition.measured:
            line = segment.timelines[0]
            if line.first_key is None:
                raise Skip("the codec's samples are not parsed")
            for at in (*line.keys, line.end if segment is rendition.segments[-1] else None):
                if at is None:
                    continue
                if last is not None and at - last > 2 + max(line.longest / 2, Fraction(1, 100)):
                    yield Evidence(package.short(segment.file), f"{ms(at - last)} between IDR pictures", "2 s")
                last = at


@rule("1.14", MUST, "interlaced pictures are deinterlaced")
def progressive(package: Package) -> Iterator[Evidence]:
    """What a package shows of it: an H.264 sequence that is not made of frames alone (frame_mbs_only_flag 0)."""
    known = [r for r in _pictures(package) if r.picture and r.picture.video and r.picture.video.interlaced is not None]
    if not known:
        raise Skip("no H.264 parameter set could be read")
    for rendition in known:
        if rendition.picture and rendition.picture.video and rendition.picture.video.interlaced:
            yield Evidence(package.short(rendition.name), "coded as fields (frame_mbs_only_flag 0)", "frames")


def _frame_rates(package: Package) -> list[tuple[str, Fraction]]:
    found = [
        (package.short(r.name), r.frame_rate) for r in package.role("video") if r.readable and r.frame_rate is not None
    ]
    # A film of one frame has no rate.
    found = [(name, rate) for name, rate in found if rate]
    declared = [(package.short(v.uri), v.frame_rate) for v in package.video_variants if v.frame_rate]
    if not found and not declared:
        raise Skip("no frame rate is known")
    return [*found, *declared]


@rule("1.18", SHOULD, "the frame rate is a natural one")
def natural_rate(package: Package) -> Iterator[Evidence]:
    for where, rate in _frame_rates(package):
        if min(abs(rate / natural - 1) for natural in _NATURAL) > Fraction(1, 500):
            yield Evidence(where, f"{float(rate):.3f} frames/s", "23.976, 24, 25, 29.97, 30, 50, 59.94 or 60")


@rule("1.19", MUST, "no more than 60 frames a second")
def rate_limit(package: Package) -> Iterator[Evidence]:
    for where, rate in _frame_rates(package):
        if rate > Fraction(601, 10):
            yield Evidence(where, f"{float(rate):.3f} frames/s", "60 at most")


@rule("1.20", SHOULD, "HDR is there at 30 frames a second or less")
def hdr_rate(package: Package) -> Iterator[Evidence]:
    hdr = [variant for variant in package.video_variants if variant.dynamic_range != "SDR"]
    if not hdr:
        raise Skip("no HDR")
    rates = [variant.frame_rate for variant in hdr if variant.frame_rate]
    if rates and min(rates) > Fraction(301, 10):
        yield Evidence("", f"HDR from {float(min(rates)):.2f} frames/s on", "30 or less")


@rule("1.21", SHOULD, "one colour space in all SDR variants, and one in all HDR variants")
def colour_space(package: Package) -> Iterator[Evidence]:
    spaces: dict[bool, dict[tuple[int | None, int | None], str]] = {True: {}, False: {}}
    for rendition in _pictures(package):
        facts = rendition.picture.video if rendition.picture else None
        if facts is not None and facts.primaries not in (None, 2):
            key = (facts.primaries, facts.matrix)
            spaces[rendition.dynamic_range != "SDR"].setdefault(key, rendition.name)
    if not spaces[True] and not spaces[False]:
        raise Skip("no colour space is told")
    for group in spaces.values():
        if len(group) > 1:
            for (primaries, matrix), name in group.items():
                yield Evidence(package.short(name), f"primaries {primaries}, matrix {matrix}", "the same everywhere")


@rule("1.23", SHOULD, "each codec and dynamic range has variants for all bandwidths")
def full_ranges(package: Package) -> Iterator[Evidence]:
    """Judged at the lower end, where a client would have to change the codec: no group begins above twice the least."""
    groups: dict[tuple[str, str], int] = {}
    for variant in package.video_variants:
        for family in {codec.family for codec in variant.codecs if codec.is_video}:
            key = (family, variant.dynamic_range)
            groups[key] = min(groups.get(key, 1 << 60), variant.bandwidth or 0)
    if len(groups) < 2:
        raise Skip("one kind of video stream")
    least = min(groups.values())
    for (family, dynamic_range), lowest in sorted(groups.items()):
        if lowest > 2 * least:
            yield Evidence(f"{family} {dynamic_range}", f"begins at {lowest} bit/s", f"about {least} bit/s")


@rule("1.24", MUST, "SDR variants exist")
def some_sdr(package: Package) -> Iterator[Evidence]:
    variants = package.video_variants
    if not variants:
        raise Skip("no video variants")
    if all(variant.dynamic_range != "SDR" for variant in variants):
        yield Evidence("", "every variant is HDR", "some SDR")


def _judged(package: Package) -> list[tuple[Variant, tuple[int, int]]]:
    if not package.is_on_demand:
        raise Skip("live; measured over an hour")
    found = [(variant, rates) for variant in package.variants if (rates := package.rates(variant)) is not None]
    if not found:
        raise Skip("no variant whose sizes are known")
    return found


@rule("1.26", MUST, "the measured average is within 10 % of AVERAGE-BANDWIDTH")
def average_rate(package: Package) -> Iterator[Evidence]:
    for variant, (average, _) in _judged(package):
        told = variant.average
        if told is not None and abs(told - average) * 10 > average:
            yield Evidence(package.short(variant.uri), f"AVERAGE-BANDWIDTH={told}, measured {average}", "within 10 %")


@rule("1.27", MUST, "the measured peak is within 10 % of BANDWIDTH")
def peak_rate(package: Package) -> Iterator[Evidence]:
    for variant, (_, peak) in _judged(package):
        told = variant.bandwidth
        if told is not None and abs(told - peak) * 10 > peak:
            yield Evidence(package.short(variant.uri), f"BANDWIDTH={told}, measured {peak}", "within 10 %")


@rule("1.30", SHOULD, "the peak is at most twice the average")
def peak_over_average(package: Package) -> Iterator[Evidence]:
    for variant, (average, peak) in _judged(package):
        if peak > 2 * average:
            yield Evidence(package.short(variant.uri), f"{peak} is {peak / average:.1f} x {average}", "2 x at most")


@rule("1.32", SHOULD, "the first variant is the one nearest to 2000 kbit/s")
def first_variant(package: Package) -> Iterator[Evidence]:
    """Of the variants that are there, the nearest one; those with the first one's sound, codec and range compete."""
    variants = [v for v in package.video_variants if v.average or v.bandwidth]
    if len(variants) < 2:
        raise Skip("fewer than two variants")

    def distance(variant: Variant) -> int:
        return abs((variant.average or variant.bandwidth or 0) - 2_000_000)

    first = variants[0]
    kinds = {codec.family for codec in first.codecs if codec.is_video}
    alike = [
        v for v in variants
        if v.attributes.get("AUDIO") == first.attributes.get("AUDIO")
        and v.dynamic_range == first.dynamic_range and {c.family for c in v.codecs if c.is_video} == kinds
    ]  # fmt: skip
    nearest = min(alike, key=distance)
    if distance(first) > distance(nearest) + 100_000:
        yield Evidence(
            package.short(first.uri), f"{first.average or first.bandwidth} bit/s", package.short(nearest.uri)
        )


@rule("1.33", SHOULD, "all variants have the same aspect ratio")
def aspect_ratios(package: Package) -> Iterator[Evidence]:
    """Sizes are even, so a ratio may be off by what two lines or columns make."""
    sizes = [(v, v.resolution) for v in package.video_variants if v.resolution and all(v.resolution)]
    if len(sizes) < 2:
        raise Skip("fewer than two sizes")
    _, (width, height) = max(sizes, key=lambda item: item[1][0] * item[1][1])
    for variant, size in sizes:
        if abs(size[0] * height - width * size[1]) > 2 * max(height, width):
            yield Evidence(package.short(variant.uri), f"{size[0]}x{size[1]}", f"the shape of {width}x{height}")


@rule("1.34", SHOULD, "some UHD variant is at most 15 Mbit/s")
def uhd_rate(package: Package) -> Iterator[Evidence]:
    uhd = [v for v in package.video_variants if v.resolution and v.resolution[0] > 1920 and v.resolution[1] > 1080]
    if not uhd:
        raise Skip("no UHD")
    if min(v.average or v.bandwidth or 0 for v in uhd) > 15_000_000:
        yield Evidence("", "every UHD variant is above 15 Mbit/s", "one below")


@rule("13.7", MUST, "Common Encryption of video skips nine of ten blocks")
def encryption_pattern(package: Package) -> Iterator[Evidence]:
    tracks = [(r, track) for r in package.role("video", "trick") for track in r.tracks if track.handler == "vide"]
    sealed = [(r, track.protection) for r, track in tracks if track.protection is not None]
    if not sealed:
        raise Skip("no Common Encryption")
    for rendition, protection in sealed:
        if protection.pattern != (1, 9):
            found = f"{protection.scheme} {protection.pattern[0]}:{protection.pattern[1]}"
            yield Evidence(package.short(rendition.name), found, "cbcs 1:9")
