"""A good package is damaged once for each MUST rule, and the rule's number is reported."""

import re
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from transcoding.boxes import find
from transcoding.checker import MUST, RULES, check
from transcoding.checker.bitstream import avc_facts
from transcoding.errors import TranscodingError

Damage = Callable[[Path], object]
VIDEO, SOUND, TEXT, TRICK = (
    "video/360p/main.m3u8",
    "audio/ru/main.m3u8",
    "subtitles/en/main.m3u8",
    "iframes/360p/main.m3u8",
)
HEVC, AV1 = "hvc1.2.4.L120.B0", "av01.0.08M.08"


def secret_of(uri: str) -> bytes:
    return (uri.rsplit("/", 1)[-1].encode() * 16)[:16]


def edit(name: str, pattern: str, new: str, count: int = 0) -> Damage:
    """Replace a pattern in the files of this name; it must be there."""

    def damage(folder: Path) -> None:
        for path in sorted(folder.glob(name)):
            text, changes = re.subn(pattern, new, path.read_text(), count=count, flags=re.MULTILINE)
            assert changes, f"{pattern} is not in {name}"
            path.write_text(text)

    return damage


def master(pattern: str, new: str, count: int = 0) -> Damage:
    return edit("master.m3u8", pattern, new, count)


def both(*damages: Damage) -> Damage:
    def damage(folder: Path) -> None:
        for one in damages:
            one(folder)

    return damage


def first(attribute: str) -> Damage:
    """Put attributes onto the first variant."""
    return master(r"^#EXT-X-STREAM-INF:", f"#EXT-X-STREAM-INF:{attribute},", 1)


def scaled(tag: str, attribute: str, factor: float) -> Damage:
    def damage(folder: Path) -> None:
        path = folder / "master.m3u8"
        pattern = rf"^(#EXT-X-{tag}:(?:.*,)?{attribute}=)(\d+)"
        text, changes = re.subn(
            pattern, lambda match: f"{match[1]}{int(int(match[2]) * factor)}", path.read_text(), flags=re.MULTILINE
        )
        assert changes
        path.write_text(text)

    return damage


def patch(name: str, change: Callable[[bytearray], bytes | bytearray | None]) -> Damage:
    def damage(folder: Path) -> None:
        data = bytearray((folder / name).read_bytes())
        changed = change(data)
        (folder / name).write_bytes(data if changed is None else changed)

    return damage


def later(ticks: int) -> Callable[[bytearray], None]:
    """Shift the decode time of a fragment."""

    def change(data: bytearray) -> None:
        at = find(data, "moof/traf/tfdt")[0] + 4
        struct.pack_into(">Q", data, at, struct.unpack_from(">Q", data, at)[0] + ticks)

    return change


def not_sync(data: bytearray) -> None:
    at = find(data, "moof/traf/trun")[0]
    flags = int.from_bytes(data[at + 1 : at + 4])
    assert flags & 0x400
    at += 8 + 4 * bool(flags & 0x1) + 4 * bool(flags & 0x4) + 4 * bool(flags & 0x100) + 4 * bool(flags & 0x200)
    struct.pack_into(">I", data, at, 0x0101_0000)


def slower(data: bytearray) -> None:
    """Twice the duration of every sample."""
    at = find(data, "moof/traf/tfhd")[0]
    assert int.from_bytes(data[at + 1 : at + 4]) & 0xF == 0x8 | 0x2
    ticks = struct.unpack_from(">I", data, at + 12)[0]
    struct.pack_into(">I", data, at + 12, 2 * ticks)


def without_moof(data: bytearray) -> bytes:
    start, end = find(data, "moof")
    return bytes(data[: start - 8] + data[end:])


def fields(data: bytearray) -> None:
    """Set the bit of the parameter set that says fields: the one whose flip says so to who reads it."""
    start = find(data, "moov/trak/mdia/minf/stbl/stsd")[0] + 8 + 8 + 78 + 8
    size = struct.unpack_from(">I", data, start - 8)[0] - 8
    for bit in range(12 * 8, size * 8):
        flipped = bytearray(data[start : start + size])
        flipped[bit // 8] ^= 0x80 >> bit % 8
        try:
            word, facts = avc_facts(bytes(flipped))
        except TranscodingError:
            continue
        if facts.interlaced and word == data[start + 1 : start + 4].hex():
            data[start : start + size] = flipped
            return
    raise AssertionError("no bit says fields")


def grown(data: bytearray, path: str, end: int, more: bytes) -> bytes:
    """Put bytes in front of `end` and let every box on the path there be so much longer."""
    made, at, last = bytearray(data), 0, len(data)
    for name in path.split("/"):
        extra = {"stsd": 8, "avc1": 78}
        inner = find(bytes(data), name, at, last)
        struct.pack_into(">I", made, inner[0] - 8, inner[1] - inner[0] + 8 + len(more))
        at, last = inner[0] + extra.get(name, 0), inner[1]
    return bytes(made[:end] + more + made[end:])


def second_sound(data: bytearray) -> bytes:
    start, end = find(data, "moov/trak")
    return grown(data, "moov", end, bytes(data[start - 8 : end]))


def common_encryption(data: bytearray) -> bytes:
    """The track as cbcs with a 5:5 pattern (ISO/IEC 23001-7)."""

    def box(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I4s", 8 + len(content), kind) + content

    tenc = box(b"tenc", bytes([1, 0, 0, 0, 0, 0x55, 1, 0]) + bytes(16) + bytes([8]) + bytes(8))
    schm = box(b"schm", bytes(4) + b"cbcs" + struct.pack(">I", 0x10000))
    sinf = box(b"sinf", box(b"frma", b"avc1") + schm + box(b"schi", tenc))
    start, end = find(data, "moov/trak/mdia/minf/stbl/stsd")
    entry_end = start + 8 + struct.unpack_from(">I", data, start + 8)[0]
    made = bytearray(grown(data, "moov/trak/mdia/minf/stbl/stsd/avc1", entry_end, sinf))
    made[start + 12 : start + 16] = b"encv"
    assert end
    return bytes(made)


def packet(counter: int) -> bytes:
    return bytes([0x47, 0x01, 0x00, 0x10 | counter]) + bytes(184)


def transport(name: str, *counters: int) -> Damage:
    """Every segment of a folder as a transport stream."""

    def damage(folder: Path) -> None:
        for number, path in enumerate(sorted((folder / name).glob("*.m4s"))):
            counted = counters or (number * 2, number * 2 + 1)
            path.write_bytes(b"".join(packet(counter & 15) for counter in counted))

    return damage


def shortened(name: str, entries: int = 1) -> Damage:
    """Take the last segments from a playlist."""
    return edit(name, rf"(?:#EXTINF:.*\n.*\n){{{entries}}}#EXT-X-ENDLIST", "#EXT-X-ENDLIST")


def tail(name: str, seconds: str) -> Damage:
    return edit(name, r"#EXTINF:.*\n(.*\n#EXT-X-ENDLIST)", rf"#EXTINF:{seconds},\n\1")


def key(words: str) -> Damage:
    return edit(VIDEO, r"^(#EXTINF)", rf"#EXT-X-KEY:{words}\n\1", 1)


LIVE = edit("*/*/main.m3u8", r"#EXT-X-PLAYLIST-TYPE:VOD\n|#EXT-X-ENDLIST\n?", "")
BREAK = edit(VIDEO, r"^(#EXTINF.*\n00001)", r"#EXT-X-DISCONTINUITY\n\1")
CODEC = r"avc1\.64[0-9a-f]{4}(?=,)"
TO_HEVC, TO_AV1 = master(CODEC, HEVC), master(CODEC, AV1)
CAPTIONS = '#EXT-X-MEDIA:TYPE=CLOSED-CAPTIONS,GROUP-ID="c",NAME="C",INSTREAM-ID="CC1"'
DESCRIBED = 'CHARACTERISTICS="public.accessibility.describes-video",'
SPOKEN = "public.accessibility.transcribes-spoken-dialog"
MUSIC = "public.accessibility.describes-music-and-sound"
RUSSIAN = 'LANGUAGE="ru",DEFAULT=NO,AUTOSELECT=YES'

DAMAGES: dict[str, Damage] = {
    "H.1": lambda folder: (folder / "video/360p/00001.m4s").unlink(),
    "H.2": edit(VIDEO, r"#EXTINF:6\.006000,", "#EXTINF:six,", 1),
    "H.3": patch("video/360p/00001.m4s", lambda data: data[:-100]),
    "H.4": master(CODEC, "avc1.640029"),
    "H.6": edit(VIDEO, "VERSION:7", "VERSION:3"),
    "H.7": master(',AUDIO="audio"', ',AUDIO="sound"', 1),
    "H.9": lambda folder: shutil.copy(folder / "video/360p/00000.m4s", folder / "iframes/360p/00001.m4s"),
    "1.1": master(CODEC, "vp09.00.10.08"),
    "1.2": patch("video/360p/00001.m4s", lambda data: b"ID3" + bytes(200)),
    "1.3b": master(CODEC, "avc1.640040"),
    "1.5": both(TO_HEVC, transport("video/360p")),
    "1.6b": master(CODEC, "hvc1.2.4.H186.B0"),
    "1.7": both(TO_HEVC, first("VIDEO-RANGE=PQ")),
    "1.9": master(CODEC, "dvh1.08.09"),
    "1.14": patch("video/360p/init.mp4", fields),
    "1.19": master("FRAME-RATE=29.970", "FRAME-RATE=120.000"),
    "1.24": master("^#EXT-X-STREAM-INF:", "#EXT-X-STREAM-INF:VIDEO-RANGE=PQ,"),
    "1.26": scaled("STREAM-INF", "AVERAGE-BANDWIDTH", 1.2),
    "1.27": scaled("STREAM-INF", "BANDWIDTH", 1.2),
    "1.37": master(CODEC, "av01.0.19M.08"),
    "1.39": both(TO_AV1, transport("video/360p")),
    "2.3": master('CHANNELS="2"', 'CHANNELS="6"'),
    "2.12": master('NAME="Русский"', 'NAME="Audio Description"'),
    "2.13": master(RUSSIAN, f'{DESCRIBED}LANGUAGE="ru",DEFAULT=NO,AUTOSELECT=NO'),
    "2.15": shortened(SOUND, 2),
    "2.17": patch("audio/ru/init.mp4", second_sound),
    "2.24": master(r"mp4a\.40\.2", "mp4a.40.5"),
    "2.25": both(master(r"mp4a\.40\.2", "fLaC"), transport("audio/ru")),
    "2.27": master(RUSSIAN, f"{DESCRIBED}DEFAULT=NO,AUTOSELECT=YES"),
    "4.4": master("^(#EXT-X-STREAM-INF)", rf"{CAPTIONS}\n\1", 1),
    "4.5": master("FORCED=NO", f'FORCED=NO,CHARACTERISTICS="{SPOKEN}"'),
    "4.6": master("AUTOSELECT=YES,FORCED=NO", f'AUTOSELECT=NO,FORCED=NO,CHARACTERISTICS="{SPOKEN},{MUSIC}"'),
    "4.7": master(r'(TYPE=SUBTITLES.*)LANGUAGE="en",', r"\1"),
    "5.2": patch("subtitles/en/00001.vtt", lambda data: b"<tt xmlns='http://www.w3.org/ns/ttml'/>"),
    "5.3": edit("subtitles/en/00001.vtt", "^X-TIMESTAMP-MAP.*\n", ""),
    "5.5": shortened(TEXT),
    "5.8": edit("subtitles/en/00001.vtt", "09.000", "08.000"),
    "6.1": master("^#EXT-X-I-FRAME-STREAM-INF.*\n", ""),
    "6.8": edit(TRICK, "#EXT-X-I-FRAMES-ONLY\n", ""),
    "6.9": scaled("I-FRAME-STREAM-INF", "BANDWIDTH", 3),
    "6.10": patch("iframes/360p/00001.m4s", without_moof),
    "6.16": master("^#EXT-X-I-FRAME-STREAM-INF:", "#EXT-X-I-FRAME-STREAM-INF:VIDEO-RANGE=PQ,"),
    "7.1": patch("video/360p/00001.m4s", later(5 * 1001)),
    "7.2": transport("video/360p", 0, 5),
    "7.3": patch("video/360p/00001.m4s", later(1)),
    "7.4": patch("video/360p/00001.m4s", not_sync),
    "7.7": edit(VIDEO, r"#EXTINF:6\.006000", "#EXTINF:6.600000", 1),
    "8.1": both(edit(VIDEO, r"#EXTINF:6\.006000", "#EXTINF:6.206000", 1), tail(VIDEO, "0.801000")),
    "8.2": edit(SOUND, "TARGETDURATION:6", "TARGETDURATION:7"),
    "8.3": tail(SOUND, "0.900000"),
    "8.4": LIVE,
    "8.6": edit(VIDEO, "#EXT-X-PLAYLIST-TYPE:VOD\n", ""),
    "8.7": shortened(TRICK, 2),
    "8.9": both(master("^#EXT-X-MEDIA:TYPE=AUDIO.*\n", ""), master(',AUDIO="audio"', "")),
    "8.10": master(RUSSIAN, "DEFAULT=NO,AUTOSELECT=YES"),
    "8.11": LIVE,
    "8.13": patch("video/360p/00001.m4s", later(100 * 30_000)),
    "8.14": patch("video/360p/00001.m4s", slower),
    "8.15": BREAK,
    "8.17": both(LIVE, BREAK),
    "8.20": edit(VIDEO, "#EXT-X-MAP.*\n", ""),
    "9.1": master('^(#EXT-X-STREAM-INF.*)CODECS=".*?",', r"\1"),
    "9.2": master("^(#EXT-X-STREAM-INF.*)RESOLUTION=.*?,", r"\1"),
    "9.3": master('^(#EXT-X-I-FRAME.*)CODECS=".*?",', r"\1"),
    "9.4": master("^(#EXT-X-I-FRAME.*)RESOLUTION=.*?,", r"\1"),
    "9.6": master(r'CHANNELS="2",URI="audio/ru/main.m3u8"', 'CHANNELS="6"'),
    "9.7": master(',URI="audio/ru/main.m3u8"', ""),
    "9.9": master(r"^#EXT-X-STREAM-INF.*\nvideo/234p/.*\n", ""),
    "9.12": both(
        master("#EXT-X-INDEPENDENT-SEGMENTS\n", ""), edit(VIDEO, "#EXT-X-INDEPENDENT-SEGMENTS\n", "")
    ),
    "9.13": scaled("STREAM-INF", "BANDWIDTH", 0.95),
    "9.14": master("AVERAGE-BANDWIDTH=.*?,", ""),
    "9.15": master("FRAME-RATE=.*?,", ""),
    "9.16": first("VIDEO-RANGE=PQ"),
    "9.19": first("SCORE=1.0"),
    "13.2": key('METHOD=AES-128,URI="skd://one",KEYFORMAT="com.apple.streamingkeydelivery"'),
    "13.3": key('METHOD=SAMPLE-AES,URI="skd://one"'),
    "13.7": patch("video/360p/init.mp4", common_encryption),
    "13.11": key('METHOD=SAMPLE-AES-CTR,URI="one"'),
    "D.1": patch("manifest.mpd", lambda data: data[:-20]),
    "D.2": edit("manifest.mpd", "video/360p/init.mp4", "video/360p/other.mp4"),
    "D.3": edit("manifest.mpd", r' d="180180"', ' d="180181"', 1),
    "D.4": edit("manifest.mpd", r"avc1\.64[0-9a-f]{4}", "avc1.640028", 1),
    "D.5": edit("manifest.mpd", "PT13", "PT20"),
}  # fmt: skip
SEALED: dict[str, Damage] = {
    "H.8": patch("video/360p/00001.m4s", lambda data: data[:-7]),
}
# Held over HTTP, in test_checker_web.py.
SERVED = {"8.18", "10.1"}


def heavier(name: str, size: int, count: int = 99) -> Damage:
    """Append a box that means nothing to segments."""

    def damage(folder: Path) -> None:
        for path in sorted((folder / name).glob("*.m4s"))[:count]:
            path.write_bytes(path.read_bytes() + struct.pack(">I4s", 8 + size, b"free") + bytes(size))

    return damage


def levelled(data: bytearray) -> None:
    """H.264 level 5.1 in a decoder configuration."""
    data[data.index(b"avcC") + 7] = 51


SHOULDS: dict[str, Damage] = {
    "H.5": master("RESOLUTION=640x360", "RESOLUTION=640x352"),
    "1.3a": both(
        master(CODEC, "avc1.640033"), patch("video/360p/init.mp4", levelled), patch("video/234p/init.mp4", levelled)
    ),
    "1.4": master(CODEC, "avc1.4d001e"),
    "1.6a": master(CODEC, "hvc1.2.4.L150.B0"),
    "1.10": master(CODEC, "avc3.64001e"),
    "1.11": patch("video/360p/init.mp4", levelled),
    "1.18": master("FRAME-RATE=29.970", "FRAME-RATE=17.000"),
    "1.20": both(master("^#EXT-X-STREAM-INF:", "#EXT-X-STREAM-INF:VIDEO-RANGE=PQ,"), master("29.970", "59.940")),
    "1.23": master(CODEC, AV1, 1),
    "1.30": heavier("video/234p", 20_000_000, 1),
    "1.32": master(r"^(#EXT-X-STREAM-INF.*\n.*\n)(#EXT-X-STREAM-INF.*\n.*\n)", r"\2\1"),
    "1.33": master("RESOLUTION=640x360", "RESOLUTION=640x480"),
    "1.34": both(master("RESOLUTION=640x360", "RESOLUTION=3840x2160"), scaled("STREAM-INF", "AVERAGE-BANDWIDTH", 40)),
    "2.6": master(r"mp4a\.40\.2", "ec-3"),
    "2.9": heavier("audio/ru", 200_000),
    "2.19": patch("audio/ru/init.mp4", lambda data: data.replace(b"ludt", b"free")),
    "4.1": both(master("^#EXT-X-MEDIA:TYPE=SUBTITLES.*\n", ""), master(',SUBTITLES="subtitles"', "")),
    "5.11": master("AUTOSELECT=YES,FORCED=YES", "AUTOSELECT=NO,FORCED=YES"),
    "6.2": edit(TRICK, r"#EXTINF:1\.0", "#EXTINF:2.0"),
    "6.5": scaled("STREAM-INF", "AVERAGE-BANDWIDTH", 20),
    "6.6": lambda folder: None,
    "7.5": edit("video/*/main.m3u8", "TARGETDURATION:6", "TARGETDURATION:10"),
    "7.6": edit(VIDEO, r"#EXTINF:6\.006", "#EXTINF:9.006", 1),
    "8.22": both(edit(VIDEO, r"#EXTINF:6\.006000", "#EXTINF:6.206000", 1), tail(VIDEO, "0.801000")),
    "9.10": master("RESOLUTION=640x360", "RESOLUTION=1280x720"),
    "9.11": master("#EXT-X-INDEPENDENT-SEGMENTS\n", ""),
    "13.5": both(master("RESOLUTION=640x360", "RESOLUTION=1280x720"), key('METHOD=SAMPLE-AES,URI="one"')),
    "13.6": both(master("RESOLUTION=640x360", "RESOLUTION=3840x2160"), key('METHOD=SAMPLE-AES,URI="one"')),
}


def broken(folder: Path) -> set[str]:
    return {finding.rule for finding in check(folder, key_for=secret_of).musts_broken}


@pytest.fixture
def copies(packaged: Path, tmp_path: Path) -> Path:
    shutil.copytree(packaged / "clear", tmp_path / "clear")
    shutil.copytree(packaged / "sealed", tmp_path / "sealed")
    return tmp_path


def test_every_must_rule_has_its_damage() -> None:
    musts = {number for number, rule in RULES.items() if rule.severity == MUST}
    assert musts == set(DAMAGES) | set(SEALED) | SERVED


def test_good_packages_break_no_must(packaged: Path) -> None:
    for name in ("clear", "sealed"):
        assert check(packaged / name, key_for=secret_of).musts_broken == ()


def test_rules_that_need_samples_apply_to_sealed_packages_with_their_keys(packaged: Path) -> None:
    with_keys = {f.rule: f.state for f in check(packaged / "sealed", key_for=secret_of).findings}
    without = {f.rule: f for f in check(packaged / "sealed").findings}
    for rule in ("7.3", "7.4", "8.1", "H.8", "H.9", "6.10"):
        assert with_keys[rule] == "pass", rule
        assert (without[rule].state, without[rule].reason != "") == ("skipped", True), rule


@pytest.mark.parametrize("number", DAMAGES)
def test_the_rule_is_reported(number: str, copies: Path) -> None:
    DAMAGES[number](copies / "clear")
    assert number in broken(copies / "clear")


@pytest.mark.parametrize("number", SEALED)
def test_the_rule_is_reported_of_a_sealed_package(number: str, copies: Path) -> None:
    SEALED[number](copies / "sealed")
    assert number in broken(copies / "sealed")


@pytest.mark.parametrize("number", SHOULDS)
def test_broken_shoulds_are_reported_and_are_no_musts(number: str, copies: Path) -> None:
    SHOULDS[number](copies / "clear")
    findings = {finding.rule: finding for finding in check(copies / "clear").findings}
    assert (findings[number].state, findings[number].severity) == ("fail", "SHOULD")
    assert findings[number].evidence[0].found
