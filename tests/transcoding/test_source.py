import json
from pathlib import Path

import pytest

from transcoding.source import Source, mastering_display, max_cll, read_source, seek_margin


def test_a_source_survives_json(shared: Path) -> None:
    for name in ("real/nasa_multitrack_270p_13s.mp4", "damaged/hdr10_720p2997_3s.mp4"):
        source = read_source(shared / "data" / "clips" / name)
        assert Source.from_json(json.loads(json.dumps(source.as_json()))) == source


def test_hdr10_is_read_in_the_words_of_the_encoders(shared: Path) -> None:
    source = read_source(shared / "data" / "clips" / "damaged" / "hdr10_720p2997_3s.mp4")
    assert (source.transfer, source.hdr, source.bit_depth) == ("pq", True, 10)
    assert (source.primaries, source.matrix, source.range) == ("bt2020", "bt2020nc", "tv")
    display = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1)"
    assert (source.mastering_display, source.max_cll) == (display, "1000,400")


def test_unusable_light_metadata_is_none() -> None:
    assert mastering_display(b"") is None
    assert mastering_display(bytes(88)) is None
    assert max_cll(bytes(8)) is None


def test_text_subtitles_and_sound_are_listed(shared: Path) -> None:
    source = read_source(shared / "data" / "clips" / "damaged" / "surround51_eac3_subs.mkv")
    found = [(t.index, t.language, t.codec, t.is_text, t.forced) for t in source.subtitles]
    assert found == [(2, "en", "srt", True, False), (3, "de", "srt", True, False)]
    assert [(t.codec, t.layout, t.channels) for t in source.audio] == [("eac3", "5.1(side)", 6)]


def test_seeking_is_trusted_only_where_it_was_tried(shared: Path) -> None:
    clips = shared / "data" / "clips"
    assert read_source(clips / "real" / "tos_wave_1080p2997_8s.mp4").seekable
    assert not read_source(clips / "damaged" / "interlaced_576i25.mpg").seekable


@pytest.mark.parametrize(
    ("packets", "margin"),
    [
        ([(0, 0, True), (1, 1, False), (2, 2, True), (3, 3, False)], 1 + 2),
        ([(0, 0, True), (1, 1, False), (9, 9, False), (10, 10, True)], 8 + 10),
        ([(2, 0, True), (4, 1, False), (3, 2, False), (5, 3, True)], 1 + 3 + 3),
        ([(None, 0, True), (None, 4, False)], 4 + 4),
    ],
)
def test_the_margin_covers_the_longest_frame_the_longest_wait_and_the_longest_way_to_a_key_frame(
    packets: list[tuple[int | None, int | None, bool]], margin: int
) -> None:
    assert seek_margin(packets) == margin
