import json
from collections.abc import Callable
from pathlib import Path

import pytest

from transcoding.errors import TranscodingError, TransientError
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
    ("name", "options", "seekable"),
    [
        ("fragments.mp4", ["-g", "25", "-movflags", "+frag_keyframe+empty_moov"], True),
        ("open.mkv", ["-g", "25", "-bf", "3", "-x264-params", "open-gop=1"], True),
        ("stream.ts", [], False),
        ("old.avi", ["-c:v", "mpeg4"], False),
    ],
)
def test_seeking_depends_on_the_container(
    film: Callable[..., Path], name: str, options: list[str], seekable: bool
) -> None:
    source = read_source(film(name, "testsrc2=size=160x90:rate=25:duration=3", options=options))
    assert (source.seekable, source.frames) == (seekable, 75)
    assert source.seek_margin >= 1 / source.frame_rate


def test_hlg_is_told_from_pq(film: Callable[..., Path]) -> None:
    colours = "colorprim=bt2020:transfer=arib-std-b67:colormatrix=bt2020nc"
    options = ["-pix_fmt", "yuv420p10le", "-profile:v", "high10", "-x264-params", colours]
    source = read_source(film("hlg.mkv", "testsrc2=size=160x90:rate=25:duration=1", options=options))
    assert (source.transfer, source.hdr, source.primaries, source.mastering_display) == ("hlg", True, "bt2020", None)


def test_what_is_no_film_is_named(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    path.write_text("#EXTM3U\n")
    with pytest.raises(TranscodingError, match=r"^film\.mp4: Invalid data"):
        read_source(path)
    with pytest.raises(TransientError, match=r"none\.mp4: No such file"):
        read_source(tmp_path / "none.mp4")


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
