"""Section 1: video encoding, and 13.7: its encryption."""

from collections.abc import Iterator
from fractions import Fraction

from transcoding.checker.bitstream import Codec
from transcoding.checker.model import Package, Rendition
from transcoding.checker.playlist import Variant
from transcoding.checker.registry import MUST, SHOULD, Evidence, Skip, measured, ms, need, rule

_NATURAL = tuple(Fraction(rate) for rate in ("24000/1001", "24", "25", "30000/1001", "30", "50", "60000/1001", "60"))
_AVC_PROFILES = {66: "Baseline", 77: "Main", 100: "High"}
# Table A-1 of ITU-T H.264: level, macroblocks a second, a frame, in the picture buffer, kbit/s (High: 1.25 of it).
_AVC_LEVELS = (
    (10, 1_485, 99, 396, 64), (11, 3_000, 396, 900, 192), (12, 6_000, 396, 2_376, 384), (13, 11_880, 396, 2_376, 768),
    (20, 11_880, 396, 2_376, 2_000), (21, 19_800, 792, 4_752, 4_000), (22, 20_250, 1_620, 8_100, 4_000),
    (30, 40_500, 1_620, 8_100, 10_000), (31, 108_000, 3_600, 18_000, 14_000), (32, 216_000, 5_120, 20_480, 20_000),
    (40, 245_760, 8_192, 32_768, 20_000), (41, 245_760, 8_192, 32_768, 50_000), (42, 522_240, 8_704, 34_816, 50_000),
    (50, 589_824, 22_080, 110_400, 135_000), (51, 983_040, 36_864, 184_320, 240_000),
    (52, 2_073_600, 36_864, 184_320, 240_000),
)  # fmt: skip
_BURST = 2  # of a coded picture buffer over what a segment shows


def _pictures(package: Package) -> list[Rendition]:
    return need(package.role("video"), "video")


def _words(package: Package) -> list[tuple[Variant, str, Codec]]:
    """Every video codec that a variant or I-frame variant declares or holds, and where."""
    listed = [*package.video_variants, *package.tricks]
    found = [(v, where, codec) for v in listed for where, codec in package.codecs(v)]
    if not found and package.master is None:
        lone = [v for v in package.role("video", "trick") for _ in v.codecs]
        found = [(Variant(r.name, {}, False, 1), package.short(r.name), c) for r in lone for c in r.codecs]
    return [item for item in found if not item[2].is_audio and item[2].family not in ("imsc", "webvtt")]


def _of(package: Package, family: str, name: str) -> list[tuple[Variant, str, Codec]]:
    found = [item for item in _words(package) if item[2].family == family]
    if not found:
        raise Skip(f"no {name} video")
    return found


@rule("1.1", MUST, "video is H.264, HEVC, Dolby Vision or AV1")
def codecs(package: Package) -> Iterator[Evidence]:
    """Motion JPEG is allowed for I-frames (6.17)."""
    words = _words(package)
    if not words:
        raise Skip("no video codec is known")
    for variant, where, codec in words:
        allowed = {"avc", "hevc", "dolby", "av1"} | ({"mjpg"} if variant.trick else set())
        if codec.family not in allowed:
            yield Evidence(where, codec.text, "avc1, hvc1, dvh1 or av01")


def _containers(package: Package, family: str, name: str, allowed: set[str]) -> Iterator[Evidence]:
    seen: set[str] = set()
    known = False
    for variant, _, _ in _of(package, family, name):
        rendition = package.renditions.get(variant.uri)
        if rendition is None or variant.uri in seen:
            continue
        seen.add(variant.uri)
        known |= bool(rendition.containers)
        for container in sorted(rendition.containers - allowed):
            yield Evidence(package.short(variant.uri), f"{name} in {container}", " or ".join(sorted(allowed)))
    if not known:
        raise Skip("the containers could not be read")


@rule("1.2", MUST, "H.264 is in fragmented MP4 or MPEG transport streams")
def avc_container(package: Package) -> Iterator[Evidence]:
    yield from _containers(package, "avc", "H.264", {"fmp4", "ts"})


@rule("1.3a", SHOULD, "some H.264 variant is at most High profile, level 4.1")
def avc_compatible(package: Package) -> Iterator[Evidence]:
    words = [codec for variant, _, codec in _of(package, "avc", "H.264") if not variant.trick]
    if words and not any(codec.profile in _AVC_PROFILES and codec.level <= 41 for codec in words):
        yield Evidence("", ", ".join(sorted({codec.text for codec in words})), "one of at most High, 4.1")


@rule("1.3b", MUST, "H.264 is at most High profile, level 5.2")
def avc_limit(package: Package) -> Iterator[Evidence]:
    for _, where, codec in _of(package, "avc", "H.264"):
        if codec.profile not in _AVC_PROFILES or codec.level > 52:
            yield Evidence(where, f"{codec.text}: profile {codec.profile}, level {codec.level / 10}", "High, 5.2")


@rule("1.4", SHOULD, "H.264 uses the High profile rather than Main or Baseline")
def avc_high(package: Package) -> Iterator[Evidence]:
    for _, where, codec in _of(package, "avc", "H.264"):
        if codec.profile in (66, 77):
            yield Evidence(where, f"{codec.text}: {_AVC_PROFILES[codec.profile]}", "High")


@rule("1.5", MUST, "HEVC is in fragmented MP4")
def hevc_container(package: Package) -> Iterator[Evidence]:
    yield from _containers(package, "hevc", "HEVC", {"fmp4"})


@rule("1.6a", SHOULD, "some HEVC variant is at most Main 10 profile, level 4.0, Main tier")
def hevc_compatible(package: Package) -> Iterator[Evidence]:
    words = [codec for variant, _, codec in _of(package, "hevc", "HEVC") if not variant.trick]
    if words and not any(c.profile in (1, 2, 3) and c.level <= 120 and not c.high_tier for c in words):
        yield Evidence("", ", ".join(sorted({codec.text for codec in words})), "one of at most Main 10, 4.0, Main tier")


@rule("1.6b", MUST, "HEVC is at most Main 10 profile, level 5.1, High tier")
def hevc_limit(package: Package) -> Iterator[Evidence]:
    for _, where, codec in _of(package, "hevc", "HEVC"):
        if codec.profile not in (1, 2, 3) or codec.level > 153:
            yield Evidence(where, f"{codec.text}: profile {codec.profile}, level {codec.level / 30}", "Main 10, 5.1")


@rule("1.7", MUST, "HDR in HEVC is HDR10, HLG or Dolby Vision")
def hdr_kinds(package: Package) -> Iterator[Evidence]:
    """Declared by VIDEO-RANGE (PQ or HLG) and, where the colour is told in the file: BT.2020 in ten bits."""
    ranged = [v for v, _, _ in _of(package, "hevc", "HEVC") if v.dynamic_range != "SDR"]
    if not ranged:
        raise Skip("no HDR in HEVC")
    for variant in ranged:
        where = package.short(variant.uri)
        if variant.dynamic_range not in ("PQ", "HLG"):
            yield Evidence(where, f"VIDEO-RANGE={variant.dynamic_range}", "PQ or HLG")
        rendition = package.renditions.get(variant.uri)
        facts = rendition.picture.video if rendition and rendition.picture else None
        if facts is not None and (facts.bit_depth or 10) < 10:
            yield Evidence(where, f"{facts.bit_depth} bits a sample", "10")
        if facts is not None and facts.primaries not in (None, 9):
            yield Evidence(where, f"colour primaries {facts.primaries}", "9 (BT.2020)")


def _hdr10(package: Package) -> list[Rendition]:
    found = {v.uri for v, _, codec in _words(package) if codec.family == "hevc" and v.dynamic_range == "PQ"}
    return measured([package.renditions[uri] for uri in sorted(found) if uri in package.renditions], "HDR10")


@rule("1.8", SHOULD, "HDR10 metadata is in the HEVC configuration box")
def hdr_in_configuration(package: Package) -> Iterator[Evidence]:
    for rendition in _hdr10(package):
        facts = rendition.picture.video if rendition.picture else None
        if facts is not None and not {137, 144} <= facts.sei:
            yield Evidence(package.short(rendition.name), f"SEI {sorted(facts.sei)} in hvcC", "SEI 137 and 144")


@rule("1.9", MUST, "Dolby Vision is profile 5, at most level 7")
def dolby(package: Package) -> Iterator[Evidence]:
    for _, where, codec in _of(package, "dolby", "Dolby Vision"):
        if codec.profile != 5 or codec.level > 7:
            yield Evidence(where, codec.text, "profile 5, level 7 at most")


@rule("1.10", SHOULD, "parameter sets are in the sample description (avc1, hvc1, dvh1)")
def parameter_sets(package: Package) -> Iterator[Evidence]:
    words = _words(package)
    if not words:
        raise Skip("no video codec is known")
    for _, where, codec in words:
        if codec.text[:4] in ("avc3", "hev1", "dvhe", "dvav"):
            yield Evidence(where, codec.text, "avc1, hvc1 or dvh1")


@rule("1.11", SHOULD, "no higher H.264 level than the picture needs")
def levels(package: Package) -> Iterator[Evidence]:
    """By Table A-1 of H.264: macroblocks, reference pictures, and twice the measured peak rate for its buffer."""
    known = [r for r in measured(package.role("video"), "video") if r.picture and r.picture.codec.startswith("avc")]
    if not known:
        raise Skip("no H.264 whose samples could be read")
    for rendition in known:
        track, rate = rendition.picture, rendition.frame_rate
        if track is None or track.video is None or rate is None:
            continue
        blocks = -(-track.width // 16) * -(-track.height // 16)
        bits = _BURST * (rendition.rates[1] if rendition.rates else 0)
        needs = (blocks * rate, blocks, blocks * (track.video.references or 1), Fraction(bits, 1250))
        fitting = (
            row[0] for row in _AVC_LEVELS if all(need <= most for need, most in zip(needs, row[1:], strict=True))
        )
        least, told = next(fitting, 52), int(track.codec[-2:], 16)
        if told > least:
            yield Evidence(package.short(rendition.name), f"level {told / 10}", f"level {least / 10}")


@rule("1.12", SHOULD, "some video is H.264")
def some_avc(package: Package) -> Iterator[Evidence]:
    words = [codec for variant, _, codec in _words(package) if not variant.trick]
    if not words:
        raise Skip("no video codec is known")
    if not any(codec.family == "avc" for codec in words):
        yield Evidence("", ", ".join(sorted({codec.text for codec in words})), "one variant in H.264")


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


@rule("1.35", SHOULD, "HDR10 carries mastering display and light level messages")
def hdr_messages(package: Package) -> Iterator[Evidence]:
    for rendition in _hdr10(package):
        facts = rendition.picture.video if rendition.picture else None
        told = (facts.sei if facts else frozenset()) | rendition.measured[0].timelines[0].messages
        if not {137, 144} <= told:
            yield Evidence(package.short(rendition.name), f"SEI {sorted(told)}", "SEI 137 and 144")


@rule("1.37", MUST, "AV1 is at most level 6.2")
def av1_limit(package: Package) -> Iterator[Evidence]:
    for _, where, codec in _of(package, "av1", "AV1"):
        if codec.level > 18:
            yield Evidence(where, f"{codec.text}: level {2 + codec.level // 4}.{codec.level % 4}", "6.2")


@rule("1.39", MUST, "AV1 is in fragmented MP4")
def av1_container(package: Package) -> Iterator[Evidence]:
    yield from _containers(package, "av1", "AV1", {"fmp4"})


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
