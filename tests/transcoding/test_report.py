"""The page a person reads: everything that was measured is on it, it needs nothing else, and nothing can break out."""

import dataclasses
import re
import threading
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from transcoding.encode import encode
from transcoding.errors import TransientError
from transcoding.plan import plan_ladder
from transcoding.report import samples, write_report, write_samples
from transcoding.report.curve import Point, fixed_points, hulls, probe_curves
from transcoding.report.samples import LARGEST_BYTES
from transcoding.report.tracks import frames
from transcoding.source import read_source

SVG_TEXT = re.compile(r"<title>([^<]*)</title>")


class Page(HTMLParser):
    """Tags, addresses and text of a page; fails on a tag that is closed without having been opened."""

    EMPTY = frozenset({"meta", "img", "br", "line", "path", "rect", "circle", "link"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.scripts = 0
        self.text = ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        self.addresses += [value or "" for name, value in attrs if name in {"href", "src"}]
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.EMPTY:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def rung(name: str, height: int, bps: int, **more: Any) -> dict[str, Any]:
    size = {"width": height * 16 // 9 // 2 * 2, "height": height}
    return {"name": name, "codec": "avc1.640028", "bytes": bps, "average_bps": bps, "peak_bps": 2 * bps, **size, **more}


def probe(height: int, crf: int, kbps: float, vmaf: float, codec: str = "h264", sample: int = 0) -> dict[str, Any]:
    return {"codec": codec, "height": height, "crf": crf, "sample": sample, "start_s": 0.0, "kbps": kbps, "vmaf": vmaf}


@pytest.fixture
def facts() -> dict[str, Any]:
    planned = [
        {"name": "720p", "width": 1280, "height": 720, "crf": 24.5, "codec": "h264", "predicted_kbps": 2400,
         "predicted_vmaf": 95.1},
        {"name": "480p", "width": 852, "height": 480, "crf": 26, "codec": "h264", "predicted_kbps": 1300,
         "predicted_vmaf": 88.2},
    ]  # fmt: skip
    return {
        "package_id": "f" * 32,
        "title_id": "t",
        "source_sha256": "a" * 64,
        "duration_ms": 3_723_000,
        "plan": {"treatment": "standard", "rungs": planned,
                 "audio": [{"name": "ru", "language": "ru", "channels": 2, "stream_index": 1}]},
        "video": [rung("720p", 720, 2_345_000, vmaf={"mean": 94.7, "min": 91.3}),
                  rung("480p", 480, 1_234_000, vmaf=87.9)],
        "audio": [{"name": "ru", "codec": "mp4a.40.2", "bytes": 99, "average_bps": 128_000, "language": "ru",
                   "channels": 2}],
        "loudness": [{"name": "ru", "loudness_lufs": -23.1, "true_peak_dbtp": -2.4, "gain_db": 4.5}],
        "probes": [probe(720, 22, 3200, 96.8), probe(720, 28, 1900, 93.1), probe(720, 34, 800, 84.0),
                   probe(480, 22, 2000, 89.9), probe(480, 28, 1000, 86.2), probe(480, 34, 400, 75.5)],
        "subtitles": [{"name": "ru-forced", "language": "ru", "forced": True}],
        "key_ids": ["k-1", "k-2"],
        "protection": "aes128",
        "tools": {"ffmpeg": "n9", "plan": "2"},
    }  # fmt: skip


CHECKS = {
    "findings": [
        {"rule": "1.13", "title": "IDR every 2 s", "severity": "MUST", "state": "pass", "evidence": "621 of 621"},
        {
            "rule": "7.5",
            "title": "6 s segments",
            "severity": "SHOULD",
            "state": "fail",
            "evidence": [{"file": "720p", "found": "9 s", "wanted": "6 s"}],
        },
        {"rule": "9.1", "title": "CODECS", "severity": "MUST", "state": "fail", "evidence": "missing <here>"},
    ]
}


def test_what_was_measured_is_on_the_page(tmp_path: Path, facts: dict[str, Any]) -> None:
    lines = [f'#EXT-X-KEY:METHOD=AES-128,URI="/api/watch/keys/{key}"' for key in ("k-1", "k-2")]
    (tmp_path / "video" / "720p").mkdir(parents=True)
    playlist = tmp_path / "video" / "720p" / "main.m3u8"
    playlist.write_text(
        "\n".join([lines[0], "#EXTINF:6,", "0.m4s", "#EXTINF:6,", "1.m4s", lines[1], "#EXTINF:2,", "2.m4s"])
    )
    text = write_report(tmp_path, facts, CHECKS).read_text()
    page = Page(text)
    for told in ("1:02:03", "2\u202f345", "94.7", "91.3", "87.9", "95.1", "24.5", "-23.1", "-2.4",
                 "4.5", "ru-forced", "k-1", "0 … 1", "k-2", "2 … 2", "aes128", "ffmpeg n9", "«standard»",
                 "720p: 9 s (wanted: 6 s)", "1 rules hold"):  # fmt: skip
        assert told in page.text, told
    assert page.text.index("missing <here>") < page.text.index("9 s") < page.text.index("621 of 621")
    told = SVG_TEXT.findall(text)
    assert "720p, CRF 28: 1\u202f900 kbit/s, VMAF 93.1" in told
    assert "720p: 2\u202f345 kbit/s, VMAF 94.7" in told
    assert "720p: 3\u202f000 kbit/s, VMAF 96.3" in told, "Apple's 720p variant, on the curve of this film"
    assert not [address for address in page.addresses if "//" in address], "opens without a network"


def test_a_fast_package_without_probes_or_scores_is_a_page_too(tmp_path: Path, facts: dict[str, Any]) -> None:
    bare = {key: facts[key] for key in ("package_id", "title_id", "duration_ms", "audio")}
    plan = {"rungs": [{"name": "720p", "height": 720, "width": 1280, "crf": 23}], "audio": []}
    measured = {**bare, "plan": plan, "tools": "plan 1, ffmpeg n9", "video": [rung("720p", 720, 2_000_000, vmaf=93.0)]}
    page = write_report(tmp_path, measured)
    assert "No probes were made" in page.read_text()
    assert "720p: 2\u202f000 kbit/s, VMAF 93.0" in SVG_TEXT.findall(page.read_text())
    unmeasured = {**measured, "video": [rung("720p", 720, 2_000_000)]}
    text = Page(write_report(tmp_path, unmeasured).read_text()).text
    assert "No quality was measured" in text
    assert "Rules" not in text


@given(hostile=st.text(max_size=40).map(lambda text: text + '"><script>alert(1)</script>'))
def test_nothing_written_by_others_becomes_markup(hostile: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    findings = [{"rule": hostile, "title": hostile, "severity": hostile, "state": "fail", "evidence": hostile}]
    facts = {
        "package_id": hostile, "title_id": hostile, "duration_ms": 1000, "tools": hostile, "protection": hostile,
        "plan": {"treatment": hostile, "rungs": [{"name": hostile, "height": 720, "crf": 23}], "audio": []},
        "video": [rung(hostile, 720, 1_000_000, vmaf=90.0)],
        "audio": [{"name": hostile, "language": hostile, "codec": hostile, "bytes": 1, "average_bps": 1}],
        "subtitles": [{"name": hostile, "language": hostile, "forced": False}], "key_ids": [hostile],
        "probes": [probe(720, 22, 2000, 90.0, codec=hostile), probe(720, 30, 1000, 80.0, codec=hostile)],
    }  # fmt: skip
    page = Page(write_report(tmp_path_factory.mktemp("page"), facts, {"findings": findings}).read_text())
    assert page.scripts == 1, "the page's own"


def test_probes_become_curves_by_size_and_codec() -> None:
    curves = probe_curves(
        [probe(720, 28, 1000, 90.0, sample=0), probe(720, 28, 3000, 94.0, sample=1), probe(720, 22, 5000, 97.0),
         probe(720, 30, 900, 91.0, codec="av1"), probe(1080, 22, 8000, 98.0)]
    )  # fmt: skip
    assert list(curves) == ["1080p", "720p", "720p av1"]
    assert curves["720p"] == [Point(2000, 92, "720p, CRF 28"), Point(5000, 97, "720p, CRF 22")]


@given(
    st.lists(st.tuples(st.floats(50, 20_000), st.floats(20, 100)), min_size=1, max_size=12, unique_by=lambda p: p[0])
)
def test_no_probe_lies_above_the_hull_and_it_only_rises(pairs: list[tuple[float, float]]) -> None:
    points = [Point(kbps, vmaf, "") for kbps, vmaf in pairs]
    (hull,) = hulls({"720p": points})
    rates, scores = [point.kbps for point in hull], [point.vmaf or 0 for point in hull]
    assert set(hull) <= set(points)
    assert rates == sorted(rates)
    assert scores == sorted(scores)
    for point in points:
        assert np.interp(np.log(point.kbps), np.log(rates), scores) >= (point.vmaf or 0) - 1e-6 or point.kbps < rates[0]


def test_the_fixed_ladder_goes_up_to_the_films_size_and_says_nothing_beyond_the_probes() -> None:
    curves = probe_curves([probe(720, 22, 4000, 96.0), probe(720, 34, 1000, 80.0)])
    points = fixed_points(curves, 720)
    assert max(point.kbps for point in points) == 4500
    assert [point.label for point in points if point.vmaf is not None] == ["720p"]


def test_frames_of_source_and_rungs_show_the_same_moment(clip: Path, tmp_path: Path) -> None:
    source = read_source(clip)
    plan = dataclasses.replace(plan_ladder(source, heights=(360, 180)), gop=12)  # segments of 1.5 s
    encode(plan, source, tmp_path, cancel=threading.Event(), threads=1)
    written = write_samples(tmp_path, plan, source)
    assert {path.name for path in written} == {
        f"{second:05d}-{name}.jpg" for second in (0, 1, 3) for name in ("source", "360p", "180p")
    }  # 0, 1.5 and 3 s
    for second in (0, 1, 3):
        pictures = [_picture(tmp_path / "report" / f"{second:05d}-{name}.jpg") for name in ("source", "360p", "180p")]
        assert {picture.shape for picture in pictures} == {(314, 560)}
        assert np.abs(pictures[0] - pictures[1]).mean() < 4, (
            "the picture carries a running clock: another frame differs more"
        )
        assert np.abs(pictures[0] - pictures[1]).mean() < np.abs(pictures[0] - pictures[2]).mean()
    first, later = (_picture(tmp_path / "report" / f"{second:05d}-source.jpg") for second in (0, 3))
    assert np.abs(first - later).mean() > 5, "moments differ"
    assert all(path.stat().st_size <= LARGEST_BYTES for path in written)


def test_a_package_is_made_without_frames_of_a_source_that_takes_too_long(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = read_source(clip)
    plan = dataclasses.replace(plan_ladder(source, heights=(180,)), gop=12)
    encode(plan, source, tmp_path, cancel=threading.Event(), threads=1)
    monkeypatch.setattr(samples, "_LEAST_TIMEOUT_S", 0.0)
    assert write_samples(tmp_path, plan, source) == []
    assert list((tmp_path / "report").iterdir()) == []
    assert "could not be decoded there in time" in frames(tmp_path, {"video": []})
    gone = threading.Event()
    gone.set()
    monkeypatch.setattr(samples, "_LEAST_TIMEOUT_S", 300.0)
    with pytest.raises(TransientError, match="cancelled"):
        write_samples(tmp_path, plan, source, cancel=gone)


def _picture(path: Path) -> "np.ndarray":
    return np.asarray(Image.open(path).convert("L"), dtype=float)
