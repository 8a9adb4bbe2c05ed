"""Probes of a small real film, remembered and used again."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import psycopg
import pytest

from matinee.settings import Settings
from transcoding.hull import Probe, fit
from transcoding.ladder import TREATMENTS, Rung
from transcoding.plan import Chunk, plan_ladder
from transcoding.probes import _batches, _probe, load_probes, probe_encodes, store_probes
from transcoding.shots import Sample
from transcoding.source import Source, read_source
from transcoding.vmaf import measure_chunk

QUICK = dataclasses.replace(TREATMENTS["standard"], h264_preset="ultrafast")


@pytest.fixture(scope="module")
def source(film: Callable[..., Path]) -> Source:
    picture = "testsrc2=size=240x136:rate=25:duration=2,scale=480:272:flags=bicubic"
    return read_source(film("probed.mp4", picture, options=["-crf", "10"]))


def test_probes_lead_to_a_ladder_and_are_made_once(
    source: Source, settings: Settings, add_master: Callable[..., str]
) -> None:
    heard: list[float] = []
    probes = probe_encodes(source, QUICK, on_progress=heard.append)
    assert heard == [1.0]
    assert [(probe.height, probe.crf) for probe in probes] == [(272, 18), (272, 26), (272, 34)]
    for height in {probe.height for probe in probes}:
        one, two, three = (probe for probe in probes if probe.height == height)
        assert one.kbps > 1.5 * two.kbps > 1.5 * three.kbps
        assert 100 >= one.vmaf > two.vmaf > three.vmaf > 0
    rungs = plan_ladder(source, QUICK, probes).rungs
    assert rungs[0].height == 272
    assert rungs[0].preset == "ultrafast"
    assert rungs[0].predicted_vmaf == pytest.approx(95, abs=1.5)
    assert fit(probes)[0].at(rungs[0].crf).kbps == pytest.approx(rungs[0].predicted_kbps, abs=1)

    master_id = add_master(source.path, "t")
    with psycopg.connect(settings.database()) as connection:
        assert load_probes(connection, master_id, QUICK) == ()
        store_probes(connection, master_id, QUICK, probes)
        store_probes(connection, master_id, QUICK, probes)
        assert sorted(load_probes(connection, master_id, QUICK), key=repr) == sorted(probes, key=repr)
        assert load_probes(connection, master_id, TREATMENTS["standard"]) == ()  # made with another preset
        assert load_probes(connection, master_id, TREATMENTS["fast"]) == ()
    assert probe_encodes(source, QUICK, known=probes) == probes


def test_av1_is_probed_for_the_best_treatment_only_and_h264_is_not_probed_twice(source: Source) -> None:
    best = dataclasses.replace(TREATMENTS["premium"], h264_preset="ultrafast")
    known = probe_encodes(source, QUICK)
    probes = probe_encodes(source, best, known=known)
    assert probes[: len(known)] == known
    assert {probe.codec for probe in probes[len(known) :]} == {"av1"}
    assert probe_encodes(source, TREATMENTS["fast"]) == ()


def test_a_process_encodes_no_more_pictures_than_memory_allows() -> None:
    def rung(height: int, crf: int) -> Rung:
        return Rung(f"{height}-{crf}", height * 16 // 9, height, crf, 1, 2)

    large = [rung(height, crf) for height in (2160, 1080, 720) for crf in (18, 26, 34)]
    batches = _batches(large)
    assert sorted(r.name for batch in batches for r in batch) == sorted(r.name for r in large)
    assert all(len(batch) == 1 or sum(r.width * r.height for r in batch) <= 6_500_000 for batch in batches)
    assert len(_batches([rung(height, crf) for height in (720, 540, 360) for crf in (18, 26, 34)])) == 1


def test_a_long_probing_that_was_cut_short_goes_on_where_it_was(film: Callable[..., Path]) -> None:
    picture = "testsrc2=size=64x36:rate=10:duration=13"
    source = read_source(film("longer.mp4", picture))
    pieces: list[Sequence[Probe]] = []
    whole = probe_encodes(source, QUICK, on_probes=pieces.append)
    assert [probe for piece in pieces for probe in piece] == list(whole)
    assert [{probe.sample for probe in piece} for piece in pieces] == [{0}, {1}, {2}, {3}, {4}]
    later: list[Sequence[Probe]] = []
    resumed = probe_encodes(source, QUICK, known=[*pieces[0], *pieces[2]], on_probes=later.append)
    assert [{probe.sample for probe in piece} for piece in later] == [{1}, {3}, {4}]
    assert sorted(resumed, key=repr) == sorted(whole, key=repr)


def test_a_film_of_a_few_pixels_gets_a_ladder_without_probes(film: Callable[..., Path]) -> None:
    source = read_source(film("tiny.mp4", "testsrc2=size=16x16:rate=25,trim=end_frame=3"))
    assert probe_encodes(source, QUICK) == ()
    plan = plan_ladder(source, QUICK, ())
    assert [rung.name for rung in plan.rungs] == ["16p"]
    assert measure_chunk(plan, source, plan.chunks[0], Path("nowhere"), plan.rungs) == {}


def test_a_piece_costs_what_it_costs_within_the_film(film: Callable[..., Path]) -> None:
    picture = "testsrc2=size=240x136:rate=12:duration=8,noise=alls=20:allf=t"
    source = read_source(film("pieces.mp4", picture, options=["-crf", "10"]))
    plan = plan_ladder(source)
    rung = Rung("probe", 240, 136, 34, 90_000, 180_000, "h264", "medium")

    def probe(first: int, frames: int) -> Probe:
        (made,) = _probe(plan, source, Sample(Chunk(0, 0, 0, first, frames), 1.0), [rung], None, 1)
        return made

    pieces = [probe(first, plan.gop) for first in range(0, plan.frames, plan.gop)]
    assert len(pieces) == 4
    assert sum(piece.kbps for piece in pieces) / 4 == pytest.approx(probe(0, plan.frames).kbps, rel=0.01)
