"""Which variant of a segment a session is given, through the media route; markers in the answer to watch."""

import shutil
from pathlib import Path

import psycopg
import pytest

from serving.playback.core import markers
from serving.playback.types import Watch
from transcoding import watermark

SEGMENTS = 40


@pytest.fixture
def marked(catalogue) -> Path:
    """A package whose 360p rung is marked; every file says what it is."""
    folder = catalogue.media / "otters" / "package-of-otters"
    shutil.rmtree(folder / "video")
    for kind, rung in (("video", "360p"), ("variants", "360p"), ("video", "180p")):
        (folder / kind / rung).mkdir(parents=True)
        for number in range(SEGMENTS):
            (folder / kind / rung / f"{number:05d}.m4s").write_bytes(f"{kind} {rung} {number:06d}".encode())
    return folder


async def watch(client, title_id: str) -> Watch:
    answer = await client.post(f"/api/watch/{title_id}")
    assert answer.status_code == 200, answer.text
    return Watch.model_validate(answer.json())


async def given(client, watched: Watch, rung: str) -> list[int]:
    """0 for A and 1 for B of every segment."""
    folder, variants = watched.manifest.hls.removesuffix("/master.m3u8"), []
    for number in range(SEGMENTS):
        answer = await client.get(f"{folder}/video/{rung}/{number:05d}.m4s")
        assert answer.status_code == 200
        kind, _, told = answer.text.split()
        assert int(told) == number
        variants.append(int(kind == "variants"))
    return variants


async def test_each_session_is_given_its_own_variants(marked, catalogue, ada) -> None:
    key, seen = watermark.key(catalogue), []
    for _ in range(2):
        watched = await watch(ada, "otters")
        variants = await given(ada, watched, "360p")
        assert variants == [watermark.bit(key, watched.playback_id, n) for n in range(SEGMENTS)]
        assert await given(ada, watched, "360p") == variants, "the same whenever it asks"
        assert await given(ada, watched, "180p") == [0] * SEGMENTS, "this rung is not marked"
        seen.append(variants)
    assert seen[0] != seen[1]


async def test_nobody_chooses_a_variant(marked, ada, problem) -> None:
    folder = (await watch(ada, "otters")).manifest.hls.removesuffix("/master.m3u8")
    for name in ("variants/360p/00003.m4s", "%76ariants/360p/00003.m4s"):
        assert problem(await ada.get(f"{folder}/{name}")) == (404, "not_found")


async def test_ranges_and_heads_of_variants(marked, catalogue, ada) -> None:
    watched = await watch(ada, "otters")
    bits = watermark.bits(watermark.key(catalogue), watched.playback_id, range(SEGMENTS))
    folder = watched.manifest.hls.removesuffix("/master.m3u8")
    name = f"{bits.index(1):05d}.m4s"
    whole = (marked / "variants/360p" / name).read_bytes()
    part = await ada.get(f"{folder}/video/360p/{name}", headers={"range": "bytes=3-9"})
    assert (part.status_code, part.content) == (206, whole[3:10])
    head = await ada.head(f"{folder}/video/360p/{name}")
    assert (head.status_code, head.headers["content-length"]) == (200, str(len(whole)))


async def test_markers_come_with_the_film(catalogue, ada) -> None:
    with psycopg.connect(catalogue.database()) as connection:
        for title_id, kind, start, end in (
            ("beacon-e1", "intro", 2_000, 7_000), ("beacon-e1", "credits", 15_000, 99_000),
            ("otters", "credits", 30_000, 40_000),
        ):  # fmt: skip
            connection.execute(
                "INSERT INTO title_marker (title_id, kind, start_ms, end_ms, source, confidence) "
                "VALUES (%s, %s, %s, %s, 'sound', 0.9)", (title_id, kind, start, end),
            )  # fmt: skip
    found = {title_id: (await watch(ada, title_id)).markers for title_id in ("beacon-e1", "beacon-e2", "otters")}
    assert [(m.kind, m.start_ms, m.end_ms) for m in found["beacon-e1"]] == [
        ("intro", 2_000, 7_000), ("credits", 15_000, 20_000), ("next_episode", 15_000, 20_000),
    ]  # fmt: skip
    assert found["beacon-e2"] == [], "nothing follows the last one"
    assert found["otters"] == [], "nothing beyond the end"


def test_the_next_episode_is_offered_shortly_before_the_end() -> None:
    (only,) = markers([], 2_700_000, is_followed=True)
    assert only == {"kind": "next_episode", "start_ms": 2_680_000, "end_ms": 2_700_000}
    (only,) = markers([], 60_000, is_followed=True)
    assert only["start_ms"] == 57_000
    assert markers([], 0, is_followed=True) == []
