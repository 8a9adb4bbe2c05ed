"""Master and media playlists against RFC 8216 and Apple's authoring specification, read by another parser."""

import dataclasses
import xml.etree.ElementTree as ET
from fractions import Fraction

import m3u8
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transcoding.boxes import Segment, Track
from transcoding.dash import dash_manifest
from transcoding.playlists import audio_groups, language_name, master_playlist, media_playlist, text_playlist
from transcoding.renditions import Rendition, Renditions, TextRendition

SEGMENTS = 4
_CODECS = {"h264": "avc1.64001f", "av1": "av01.0.08M.10", "hevc": "hvc1.2.4.L120.90"}
PQ = (9, 16, 9, False)


def segments(kbps: int, count: int = SEGMENTS, length: int = 6) -> tuple[Segment, ...]:
    size = kbps * length * 125
    return tuple(Segment(f"{n:05d}.m4s", n * length, length, length, size, True) for n in range(count))


def video(name: str, height: int, kbps: int, codec: str = "h264", colour: tuple | None = None) -> Rendition:
    track = Track(1, _CODECS[codec], height * 16 // 9, height, 0, colour=colour)
    return Rendition("video", name, track, segments(kbps), Fraction(25))


def sound(language: str, channels: int = 2, kbps: int = 128) -> Rendition:
    name = language if channels == 2 else f"{language}-{channels}ch"
    track = Track(1, "mp4a.40.2", 0, 0, 0, channels)
    return Rendition("audio", name, track, segments(kbps), language=language)


def text(language: str, *, forced: bool = False) -> TextRendition:
    name = f"{language}-forced" if forced else language
    return TextRendition(name, language, forced, (Fraction(6),) * SEGMENTS)


FRAMES = dataclasses.replace(video("360p", 360, 0), kind="iframes", segments=segments(300, 24, 1))
LADDER = (video("1080p", 1080, 5000), video("720p", 720, 2500), video("540p", 540, 1800), video("360p", 360, 500))
WHOLE = Renditions(
    (*LADDER, video("1080p-av1", 1080, 3000, "av1")),
    (sound("en"), sound("ru"), sound("en", 6, 320)),
    (FRAMES,),
    (text("en"), text("ru"), text("ru", forced=True)),
    Fraction(6),
)


def master(renditions: Renditions) -> m3u8.M3U8:
    return m3u8.loads(master_playlist(renditions))


def test_each_variant_stands_once_in_each_group_of_sounds() -> None:
    listed = [(p.uri, p.stream_info.audio) for p in master(WHOLE).playlists]
    assert len(listed) == len(set(listed)) == 10
    assert [group for _, group in listed] == ["stereo"] * 5 + ["surround"] * 5


def test_the_first_variant_is_h264_near_two_megabit_and_others_follow_from_high_to_low() -> None:
    names = [p.uri.split("/")[1] for p in master(WHOLE).playlists][:5]
    assert names == ["540p", "1080p", "1080p-av1", "720p", "360p"]
    cheap = dataclasses.replace(WHOLE, video=(*LADDER, video("1080p-av1", 1080, 2000, "av1")))
    assert master(cheap).playlists[0].uri == "video/540p/main.m3u8", "AV1 is not what every player begins with"


def test_bandwidth_is_the_worst_combination_of_the_group() -> None:
    for playlist in master(WHOLE).playlists:
        info = playlist.stream_info
        own = next(r for r in WHOLE.video if f"/{r.name}/" in playlist.uri)
        loudest = 320_000 if info.audio == "surround" else 128_000
        assert info.bandwidth == own.peak_bps + loudest
        assert info.average_bandwidth == own.average_bps + loudest


def test_groups_hold_the_same_members() -> None:
    """RFC 8216, 4.3.4.1.1: alike but for address and channels."""
    media = [m for m in master(WHOLE).media if m.type == "AUDIO"]
    alike = {
        group: [(m.name, m.language, m.default, m.autoselect) for m in media if m.group_id == group]
        for group in ("stereo", "surround")
    }
    assert alike["stereo"] == alike["surround"] == [("English", "en", "YES", "YES"), ("Русский", "ru", "NO", "YES")]
    assert [(m.uri, m.channels) for m in media if m.group_id == "surround"] == [
        ("audio/en-6ch/main.m3u8", "6"),
        ("audio/ru/main.m3u8", "2"),
    ]


def test_one_group_where_all_is_stereo_and_none_where_it_is_silent() -> None:
    assert list(audio_groups(WHOLE.audio[:2])) == ["audio"]
    silent = dataclasses.replace(WHOLE, audio=(), text=())
    told = master(silent)
    assert not told.media
    assert [p.stream_info.codecs for p in told.playlists][:2] == ["avc1.64001f", "avc1.64001f"]
    assert len(told.playlists) == 5


def test_subtitles_are_named_and_off_until_asked_for() -> None:
    told = master(WHOLE)
    subtitles = [m for m in told.media if m.type == "SUBTITLES"]
    assert [(m.name, m.language, m.default, m.autoselect, m.forced, m.uri) for m in subtitles] == [
        ("English", "en", "NO", "YES", "NO", "subtitles/en/main.m3u8"),
        ("Русский", "ru", "NO", "YES", "NO", "subtitles/ru/main.m3u8"),
        ("Русский (forced)", "ru", "NO", "YES", "YES", "subtitles/ru-forced/main.m3u8"),
    ]
    assert {p.stream_info.subtitles for p in told.playlists} == {"subtitles"}
    assert {p.stream_info.closed_captions for p in told.playlists} == {"NONE"}
    names = [(m.type, m.group_id, m.name) for m in told.media]
    assert len(set(names)) == len(names), "members of a group must have different names"


def test_languages_by_the_names_that_speakers_give_them() -> None:
    names = {tag: language_name(tag) for tag in ("ru", "pt-BR", "und", "tlh")}
    assert names == {"ru": "Русский", "pt-BR": "Português (BR)", "und": "Original", "tlh": "tlh"}


def test_key_frames_for_trick_play() -> None:
    (frames,) = master(WHOLE).iframe_playlists
    assert frames.uri == "iframes/360p/main.m3u8"
    info = frames.iframe_stream_info
    assert (info.bandwidth, info.resolution, info.codecs) == (300_000, (640, 360), "avc1.64001f")
    playlist = m3u8.loads(media_playlist(FRAMES, 1))
    assert playlist.is_i_frames_only
    assert [segment.duration for segment in playlist.segments] == [1.0] * 24


def test_ranges_are_told_of_all_as_soon_as_one_is_not_sdr() -> None:
    assert "VIDEO-RANGE" not in master_playlist(WHOLE)
    hdr = dataclasses.replace(WHOLE, video=(*LADDER, video("1080p-hevc", 1080, 6000, "hevc", PQ)))
    told = master(hdr)
    ranges = {p.uri.split("/")[1]: p.stream_info.video_range for p in told.playlists}
    assert ranges == {"1080p": "SDR", "720p": "SDR", "540p": "SDR", "360p": "SDR", "1080p-hevc": "PQ"}
    assert master_playlist(hdr).count("VIDEO-RANGE") == 11, "the key frames too"


def test_bandwidth_counts_the_heavier_variant_of_a_watermark() -> None:
    clear = LADDER[0]
    sizes = [segment.size for segment in clear.segments]
    marked = dataclasses.replace(clear, twins=(sizes[0] + 60_000, *(size - 10 for size in sizes[1:])))
    assert marked.peak_bps == clear.peak_bps + 60_000 * 8 // 6
    assert marked.average_bps == clear.average_bps + 60_000 * 8 // 24
    assert marked.size > 2 * clear.size


def test_subtitle_playlists_span_the_film() -> None:
    playlist = m3u8.loads(text_playlist(WHOLE.text[0], WHOLE.target))
    assert sum(segment.duration for segment in playlist.segments) == float(LADDER[0].duration)
    assert playlist.target_duration == 6
    assert [segment.uri for segment in playlist.segments][-1] == "00003.vtt"
    assert not playlist.segment_map
    assert playlist.is_endlist


def test_every_key_change_is_told_once_and_the_map_is_before_it() -> None:
    playlist = m3u8.loads(media_playlist(LADDER[0], 6, ["a", "a", "b", "b"]))
    assert [segment.key.uri for segment in playlist.segments] == [f"/api/watch/keys/{key}" for key in "aabb"]
    assert {segment.key.method for segment in playlist.segments} == {"AES-128"}
    assert all(segment.key.iv is None for segment in playlist.segments), "the sequence number is the IV"
    lines = media_playlist(LADDER[0], 6, ["a", "a", "b", "b"]).splitlines()
    assert sum(line.startswith("#EXT-X-KEY") for line in lines) == 2
    assert "#EXT-X-KEY" not in "\n".join(lines[: lines.index('#EXT-X-MAP:URI="init.mp4"')])


@given(st.lists(st.sampled_from("abc"), min_size=SEGMENTS, max_size=SEGMENTS))
def test_any_order_of_keys_is_read_back(keys: list[str]) -> None:
    playlist = m3u8.loads(media_playlist(LADDER[0], 6, keys))
    assert [segment.key.uri for segment in playlist.segments] == [f"/api/watch/keys/{key}" for key in keys]


@given(st.lists(st.tuples(st.sampled_from(["h264", "av1", "hevc"]), st.integers(1, 30), st.integers(100, 9000))))
def test_whatever_the_ladder_h264_begins_and_heights_fall(rungs: list[tuple[str, int, int]]) -> None:
    ladder = [video("base", 360, 500)]
    ladder += [video(f"{n}", 90 * height, kbps, codec) for n, (codec, height, kbps) in enumerate(rungs)]
    told = master(Renditions(tuple(ladder), (), (), (), Fraction(6))).playlists
    assert len({p.uri for p in told}) == len(told) == len(ladder)
    assert told[0].stream_info.codecs == "avc1.64001f"
    heights = [p.stream_info.resolution[1] for p in told[1:]]
    assert heights == sorted(heights, reverse=True)


@pytest.fixture
def mpd() -> ET.Element:
    hdr = video("1080p-hevc", 1080, 6000, "hevc", PQ)
    return ET.fromstring(dash_manifest(dataclasses.replace(WHOLE, video=(*WHOLE.video, hdr))))


SPACE = {"m": "urn:mpeg:dash:schema:mpd:2011"}


def test_dash_keeps_codecs_apart(mpd: ET.Element) -> None:
    told = []
    for group in mpd.iterfind(".//m:AdaptationSet", SPACE):
        codecs = {r.get("codecs", "").split(".")[0] for r in group.iterfind("m:Representation", SPACE)}
        told.append((group.get("contentType"), group.get("lang"), codecs))
    assert told == [
        ("video", None, {"avc1"}), ("video", None, {"av01"}), ("video", None, {"hvc1"}),
        ("audio", "en", {"mp4a"}), ("audio", "ru", {"mp4a"}), ("audio", "en", {"mp4a"}), ("text", "en", {""}),
        ("text", "ru", {""}), ("text", "ru", {""}),
    ]  # fmt: skip
    ids = [s.get("id") for s in mpd.iterfind(".//m:AdaptationSet", SPACE)]
    assert ids == [str(number) for number in range(1, 10)]


def test_dash_tells_roles_channels_and_colour(mpd: ET.Element) -> None:
    properties = {p.get("schemeIdUri", ""): p.get("value") for p in mpd.iterfind(".//m:EssentialProperty", SPACE)}
    colour = {"ColourPrimaries": "9", "TransferCharacteristics": "16", "MatrixCoefficients": "9"}
    assert properties == {f"urn:mpeg:mpegB:cicp:{name}": value for name, value in colour.items()}
    roles = [r.get("value") for r in mpd.iterfind(".//m:Role", SPACE)]
    assert roles == ["main", "dub", "main", "subtitle", "subtitle", "forced-subtitle"]
    channels = [c.get("value") for c in mpd.iterfind(".//m:AudioChannelConfiguration", SPACE)]
    assert channels == ["2", "2", "6"]
    assert [b.text for b in mpd.iterfind(".//m:BaseURL", SPACE)] == [
        f"subtitles/{name}/whole.vtt" for name in ("en", "ru", "ru-forced")
    ]
