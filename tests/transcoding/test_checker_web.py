"""The checker at a web server, ours and foreign, honest and hostile."""

import gzip
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from transcoding.checker import Limits, Report, check
from transcoding.commands import app
from transcoding.errors import TranscodingError

MIME = {".m3u8": "application/vnd.apple.mpegurl", ".m4s": "video/iso.segment", ".vtt": "text/vtt", ".mp4": "video/mp4"}


class Handler(SimpleHTTPRequestHandler):
    """A small media server. `packed`: playlists with gzip; `moved`: paths that are redirected."""

    protocol_version = "HTTP/1.1"

    def __init__(self, *arguments: Any, packed: bool, moved: dict[str, str], asked: list[str], **named: Any) -> None:
        self.packed, self.moved, self.asked = packed, moved, asked
        super().__init__(*arguments, **named)

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if self.path in self.moved:
            self.send_response(302)
            self.send_header("Location", self.moved[self.path])
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            self.send_error(404)
            return
        data, status = path.read_bytes(), 200
        if wanted := self.headers.get("Range"):
            first, last = (int(word) for word in wanted.removeprefix("bytes=").split("-"))
            data, status = data[first : last + 1], 206
        self.send_response(status)
        if self.packed and path.suffix == ".m3u8":
            data = gzip.compress(data)
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Type", MIME.get(path.suffix, "application/octet-stream"))
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *words: Any) -> None:  # noqa: A002 - the name that it overrides
        pass


@contextmanager
def serving(folder: Path, *, packed: bool = True, moved: dict[str, str] | None = None) -> Iterator[tuple[str, list]]:
    asked: list[str] = []
    handler = partial(Handler, directory=str(folder), packed=packed, moved=moved or {}, asked=asked)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def states(report: Report) -> dict[str, str]:
    return {finding.rule: finding.state for finding in report.findings}


def musts(report: Report) -> set[str]:
    return {finding.rule for finding in report.musts_broken}


def test_a_good_package_on_a_good_server_breaks_no_must_and_is_read_once(packaged: Path) -> None:
    with serving(packaged / "clear") as (address, asked):
        report = check(f"{address}/master.m3u8", inside=True)
    assert musts(report) == set()
    found = states(report)
    assert (found["10.1"], found["10.4"], found["8.18"], found["11.1"]) == ("pass", "pass", "pass", "fail")
    assert [found[rule] for rule in ("7.4", "D.1", "D.2", "D.3", "D.4", "D.5")] == ["pass"] * 6
    assert len(asked) == len(set(asked))
    assert len([name for name in asked if name.endswith(".m4s")]) == 3 * 4 + 14


def test_playlists_without_gzip_are_reported(packaged: Path) -> None:
    with serving(packaged / "clear", packed=False) as (address, _):
        assert musts(check(f"{address}/master.m3u8", inside=True)) == {"10.1"}


def test_a_redirect_is_reported_and_not_followed(packaged: Path) -> None:
    moved = {"/video/360p/00001.m4s": "/video/360p/00000.m4s"}
    with serving(packaged / "clear", moved=moved) as (address, asked):
        report = check(f"{address}/master.m3u8", inside=True)
    assert "8.18" in musts(report)
    assert "H.1" not in musts(report)
    assert asked.count("/video/360p/00000.m4s") == 1


def test_a_redirected_master_is_reported(packaged: Path) -> None:
    with serving(packaged / "clear", moved={"/": "/master.m3u8", "/old.m3u8": "/master.m3u8"}) as (address, asked):
        assert "8.18" in musts(check(f"{address}/old.m3u8", inside=True))
    assert asked == ["/old.m3u8"]


def test_keys_are_fetched_from_the_packages_own_server(packaged: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(packaged / "sealed", tmp_path / "site")
    for name in ("sd-0", "audio-0"):
        path = tmp_path / "site/api/watch/keys" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((name.encode() * 16)[:16])
    with serving(tmp_path / "site") as (address, _):
        report = check(f"{address}/master.m3u8", inside=True)
    assert musts(report) == set()
    assert states(report)["H.8"] == states(report)["7.4"] == "pass"


@pytest.fixture(scope="module")
def foreign(film: Callable[..., Path], ffmpeg: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """HLS by ffmpeg's own muxer: `foreign("ts", options)`, with a master playlist of two variants."""
    picture = film("foreign.mp4", "testsrc2=size=320x180:rate=25:duration=9", {"eng": 440}, ["-c:a", "aac", "-g", "50"])

    def make(name: str, *options: str) -> Path:
        folder = tmp_path_factory.mktemp(name)
        subprocess.run(
            [ffmpeg, "-v", "error", "-i", picture, "-map", "0:v", "-map", "0:a", "-map", "0:v", "-map", "0:a",
             "-c", "copy", "-f", "hls", "-hls_time", "4", "-hls_playlist_type", "vod",
             "-var_stream_map", "v:0,a:0 v:1,a:1", "-master_pl_name", "master.m3u8", *options, "out%v.m3u8"],
            check=True, cwd=folder,
        )  # fmt: skip
        return folder

    return make


@pytest.mark.parametrize(
    ("name", "options", "read"),
    [
        ("ts", [], {"7.2": "pass", "1.2": "pass", "7.3": "skipped", "7.4": "skipped", "9.5": "fail", "2.17": "pass"}),
        ("fmp4", ["-hls_segment_type", "fmp4"], {"7.3": "pass", "7.4": "pass", "9.5": "fail", "8.20": "pass"}),
        ("single", ["-hls_segment_type", "fmp4", "-hls_flags", "single_file"], {"7.4": "pass", "H.1": "pass"}),
    ],
)
def test_hls_by_another_packager(
    name: str, options: list[str], read: dict[str, str], foreign: Callable[..., Path]
) -> None:
    folder = foreign(name, *options)
    with serving(folder) as (address, _):
        report = check(f"{address}/master.m3u8", inside=True)
    found = states(report)
    assert {rule: found[rule] for rule in read} == read
    # What that muxer leaves out: I-frames, average rates, languages.
    assert {"6.1"} <= musts(report)
    assert not musts(report) & {"H.1", "H.2", "H.3", "8.1", "8.3", "1.1"}
    assert musts(check(folder)) == musts(report)


def test_a_lone_media_playlist(foreign: Callable[..., Path]) -> None:
    report = check(foreign("lone", "-hls_segment_type", "fmp4") / "out0.m3u8")
    assert musts(report) == set()
    assert (states(report)["7.4"], states(report)["9.1"]) == ("pass", "skipped")


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "site").mkdir()
    return tmp_path / "site"


def hostile(site: Path, reference: str) -> Path:
    (site / "master.m3u8").write_text(f"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{reference}\n")
    return site


@pytest.mark.parametrize(
    "reference",
    ["../secret.m3u8", "%2e%2e/secret.m3u8", "/etc/passwd", "file:///etc/passwd", "a/../../secret.m3u8", "link.m3u8",
     "pipe", "https://example.com/x.m3u8", "\0", "//host/x", "x" * 5000],
)  # fmt: skip
def test_a_folder_is_never_left(site: Path, reference: str) -> None:
    secret = "#EXTM3U\n#EXT-X-TARGETDURATION:6\n#EXTINF:6,\ntold.ts\n"
    (site.parent / "secret.m3u8").write_text(secret)
    (site / "link.m3u8").symlink_to(site.parent / "secret.m3u8")
    os.mkfifo(site / "pipe")
    report = check(hostile(site, reference))
    assert "H.1" in musts(report)
    assert "told.ts" not in str(report)


@pytest.mark.parametrize(
    "reference", ["http://127.0.0.1:9/x.m3u8", "file:///etc/passwd", "ftp://host/x", "http://[", "//else.example/x"]
)
def test_other_servers_are_not_asked(site: Path, reference: str) -> None:
    with serving(hostile(site, reference)) as (address, asked):
        report = check(f"{address}/master.m3u8", inside=True)
    assert "H.1" in musts(report)
    assert set(asked) == {"/master.m3u8", "/manifest.mpd"}


def test_without_leave_no_private_address_is_asked(packaged: Path) -> None:
    refused = pytest.raises(TranscodingError, match=r"127\.0\.0\.1.*--inside")
    with serving(packaged / "clear") as (address, asked), refused:
        check(f"{address}/master.m3u8")
    assert asked == []


def test_inside_is_said_of_one_server_alone(site: Path) -> None:
    """A package may name other servers where that is allowed, but not those beside its own."""
    with serving(site) as (_, neighbours):
        port = _.rpartition(":")[2]
        hostile(site, f"http://127.0.0.2:{port}/other.m3u8")
        with serving(site) as (address, _):
            report = check(f"{address}/master.m3u8", inside=True, other_origins=True)
    assert "H.1" in musts(report)
    assert neighbours == []


def test_a_bomb_is_not_unpacked(site: Path) -> None:
    hostile(site, "bomb.m3u8")
    (site / "bomb.m3u8").write_bytes(b"#" * 30_000_000)
    with serving(site) as (address, _):
        report = check(f"{address}/master.m3u8", inside=True)
    assert "more than" in str(report.findings[0].evidence)


def test_sizes_and_counts_are_bounded(packaged: Path) -> None:
    assert "H.1" in musts(check(packaged / "clear", limits=Limits(segment_bytes=10_000)))
    with pytest.raises(TranscodingError, match="more than 10 files"):
        check(packaged / "clear", limits=Limits(files=10))
    with pytest.raises(TranscodingError, match="more than 200000 bytes"):
        check(packaged / "clear", limits=Limits(total_bytes=200_000))


def test_nothing_to_check_is_an_error(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "none", "ftp://host/master.m3u8", "http://127.0.0.1:9/master.m3u8"):
        with pytest.raises(TranscodingError):
            check(place)


def test_the_command(packaged: Path, tmp_path: Path) -> None:
    import json

    runner = CliRunner()
    good = runner.invoke(app, ["check-package", str(packaged / "clear")])
    assert good.exit_code == 0
    assert "0 broken MUST" in good.output
    hostile(tmp_path, "none.m3u8")
    bad = runner.invoke(app, ["check-package", str(tmp_path)])
    assert bad.exit_code == 1
    assert "9.14" in bad.output
    told = json.loads(runner.invoke(app, ["check-package", str(tmp_path), "--json"]).output)
    assert told["musts_broken"] == sum(f["state"] == "fail" and f["severity"] == "MUST" for f in told["findings"])
    assert {f["rule"] for f in told["findings"] if f["state"] == "fail"} >= {"H.1", "9.1", "9.14"}
    assert runner.invoke(app, ["check-package"]).exit_code == 2
