"""Real films: each becomes a package or says why not."""

from collections.abc import Callable
from pathlib import Path

import pytest

from matinee.settings import Settings
from transcoding.build import transcode_pending

EXPECTED = {
    "real/bbb_1080p60_2s_51.mp4": ["1080p", "720p", "480p"],
    "real/bbb_720p25_5s_51.mp4": ["720p", "480p"],
    "real/bbb_hevc_ac3_360p24_8s.mp4": ["360p", "180p"],
    "real/nasa_multitrack_270p_13s.mp4": ["270p", "134p"],
    "real/sam_dog_720p2997_10s.mp4": ["720p", "480p"],
    "real/sam_juggle_720p24_10s.mp4": ["720p", "480p"],
    "real/tos_wave_1080p2997_8s.mp4": ["1080p", "720p", "480p"],
    "damaged/hdr10_720p2997_3s.mp4": ["720p", "480p"],
    "damaged/interlaced_576i25.mpg": ["480p", "240p"],
    "damaged/no_audio.mp4": ["720p", "480p"],
    "damaged/odd_853x479_yuv444.mp4": ["478p", "238p"],
    "damaged/rotated_90.mp4": ["720p", "480p"],
    "damaged/surround51_eac3_subs.mkv": ["720p", "480p"],
    "damaged/text_renamed.mp4": "Invalid data",
    "damaged/truncated_no_moov.mp4": "Invalid data",
    "damaged/vfr_phone.mp4": ["360p", "180p"],
    "damaged/zero_byte.mp4": "Invalid data",
}
QUICK = {
    "real/bbb_hevc_ac3_360p24_8s.mp4",
    "real/nasa_multitrack_270p_13s.mp4",
    "damaged/interlaced_576i25.mpg",
    "damaged/vfr_phone.mp4",
    "damaged/zero_byte.mp4",
}


@pytest.mark.parametrize(
    "names",
    [
        pytest.param(sorted(QUICK), id="quick"),
        pytest.param(sorted(EXPECTED.keys() - QUICK), id="rest", marks=pytest.mark.slow),
    ],
)
def test_each_becomes_a_package_or_says_why(
    names: list[str], settings: Settings, add_master: Callable[..., str], shared: Path
) -> None:
    titles = {f"clip-{number}": name for number, name in enumerate(names)}
    for title_id, name in titles.items():
        add_master(shared / "data" / "clips" / name, title_id)
    outcomes = {titles[outcome.title_id]: outcome for outcome in transcode_pending(settings)}
    assert outcomes.keys() == set(names)
    for name, outcome in outcomes.items():
        expected = EXPECTED[name]
        if isinstance(expected, str):
            assert outcome.state == "failed"
            assert outcome.reason is not None
            assert expected in outcome.reason
        else:
            assert (outcome.state, outcome.reason) == ("published", None), name
            assert [rung["name"] for rung in outcome.rungs] == expected, name


def test_the_list_knows_every_clip(shared: Path) -> None:
    here = {f"{path.parent.name}/{path.name}" for path in (shared / "data" / "clips").glob("[rd]*/*")}
    assert here == EXPECTED.keys()
