"""Short encodes of a few pieces of a film, at several sizes and qualities, measured and remembered."""

import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg

from matinee.db import queries
from transcoding import ffmpeg
from transcoding.arguments import ENCODER_THREADS, QUIET, filter_graph, input_arguments, video_options
from transcoding.errors import TranscodingError
from transcoding.hull import Probe
from transcoding.ladder import AV1_PRESET, Rung, Treatment, av1_heights, hull_heights, rung_sizes
from transcoding.plan import Plan, plan_ladder
from transcoding.shots import Sample, choose_samples, find_cuts, sample_count
from transcoding.source import Source
from transcoding.vmaf import measurable, vmaf

_SQL = queries.load(Path(__file__).parent)
# Changes whenever the same film would be probed differently: what is remembered is then not used any more.
PROBES_VERSION = "4"
# Three a size: two predict nothing (VMAF errs by 5), three err by half a point. The source's own size is for the best
# rungs, the smaller ones reach down to slow connections.
CRFS = {"h264": (18, 26, 34), "h264 smaller": (20, 29, 38), "av1": (24, 40, 56)}
# Probes show what a CRF costs: the ladder's own buffer bounds its peaks only. SVT-AV1 takes no more than 100 Mbit/s.
_UNBOUNDED_KBPS = 90_000
# An encoder spends otherwise where it begins and where it sees the end coming: x264's first key frame got two thirds of
# what the next ones get, the last 40 frames less too. So pieces are encoded with GOPs around them that do not count.
_BEYOND_GOPS = 1
_LOOKAHEAD = 40
_LEAST_TIMEOUT_S = 300
_PATIENCE = 600  # seconds for a second of film and one process
_DECODING = 2  # seconds for a second of film that is decoded on the way, where there is no seeking
# Of all pictures that one process encodes: x264's medium preset keeps about 200 bytes for each of these pixels.
_PIXELS_AT_ONCE = 6_500_000


@dataclass(frozen=True)
class _Encoded:
    path: Path
    rung: Rung


def probe_encodes(
    source: Source,
    treatment: Treatment,
    *,
    known: Sequence[Probe] = (),
    cancel: threading.Event | None = None,
    on_progress: Callable[[float], None] | None = None,
    on_probes: Callable[[Sequence[Probe]], None] | None = None,
    threads: int = ENCODER_THREADS,
) -> tuple[Probe, ...]:
    """Everything that a ladder of this treatment needs to know of a film: what is `known`, and what was missing.

    One decode of a piece feeds as many sizes and qualities as memory allows. The presets are the ladder's own, and
    pieces lie on its grid of GOPs, so that no correction stands between a probe and the segment it foretells.
    `on_progress` hears 0 to 1, `on_probes` those of each piece as soon as they are measured. A film of a few pixels,
    which VMAF cannot take, is not probed.

    Raises:
        TranscodingError: the film cannot be decoded or encoded.
    """
    plan = plan_ladder(source, tone_mapper=not source.hdr or ffmpeg.has_tone_mapper())
    there = {(probe.codec, probe.sample) for probe in known}
    missing = {
        number: [codec for codec in codecs_of(treatment) if (codec, number) not in there]
        for number in range(sample_count(plan))
    }
    if not any(missing.values()) or not measurable(source):
        return tuple(known)
    made = list(known)
    samples = choose_samples(plan, find_cuts(plan, source, cancel=cancel))
    for number, sample in enumerate(samples):
        rungs = [rung for codec in missing[number] for rung in _rungs(source, codec, treatment)]
        probes = _probe(plan, source, sample, rungs, cancel, threads) if rungs else []
        made += probes
        if on_probes is not None and probes:
            on_probes(probes)
        if on_progress is not None:
            on_progress((number + 1) / len(samples))
    return tuple(made)


def codecs_of(treatment: Treatment) -> tuple[str, ...]:
    """What is probed for a treatment."""
    if not treatment.probes:
        return ()
    return ("h264", "av1") if treatment.av1 else ("h264",)


def _rungs(source: Source, codec: str, treatment: Treatment) -> list[Rung]:
    heights = hull_heights(source)
    if codec == "h264":
        preset, crfs, smaller = treatment.h264_preset, CRFS["h264"], CRFS["h264 smaller"]
    else:
        heights, preset, crfs, smaller = av1_heights(heights), AV1_PRESET, CRFS[codec], CRFS[codec]
    return [
        Rung(f"{codec}-{height}-{crf}", width, height, crf, _UNBOUNDED_KBPS, 2 * _UNBOUNDED_KBPS, codec, preset)
        for width, height in rung_sizes(source, heights)
        for crf in (crfs if height == heights[0] else smaller)
    ]


def _probe(
    plan: Plan, source: Source, sample: Sample, rungs: Sequence[Rung], cancel: threading.Event | None, threads: int
) -> list[Probe]:
    window, seconds = sample.window, float(sample.window.frames / plan.frame_rate)
    before = min(_BEYOND_GOPS * plan.gop, window.first_frame)
    wide = before + window.frames + max(_BEYOND_GOPS * plan.gop, _LOOKAHEAD)
    first = window.first_frame - before
    encoding = replace(window, first_frame=first, frames=min(wide, plan.frames - first))
    with tempfile.TemporaryDirectory(prefix="matinee-probe-") as folder:
        encoded = [_Encoded(Path(folder) / f"{rung.name}.nut", rung) for rung in rungs]
        for batch in _batches(rungs):
            arguments = [*QUIET, *input_arguments(plan, source, encoding)]
            arguments += ["-filter_complex", filter_graph(plan, source, rungs=batch, chunk=encoding)]
            for number, rung in enumerate(batch):
                options = video_options(plan, rung, source, threads=threads)
                arguments += ["-map", f"[v{number}]", *options, "-f", "nut", f"{rung.name}.nut"]
            before_s = 0.0 if source.seekable else float(window.first_frame / plan.frame_rate)
            timeout_s = max(_LEAST_TIMEOUT_S, _PATIENCE * seconds + _DECODING * before_s)
            closed = ffmpeg.confined(source.path, write=(Path(folder),), timeout_s=timeout_s)
            ffmpeg.run(arguments, cwd=Path(folder), timeout_s=timeout_s, cancel=cancel, sandbox=closed)
        sizes = [_cut(each.path, before, window.frames) for each in encoded]
        scores = vmaf([each.path for each in encoded], plan, source, window, cancel=cancel, threads=threads)
        start_s = float(window.first_frame / plan.frame_rate)
        return [
            Probe(
                each.rung.codec, each.rung.height, int(each.rung.crf), window.number, round(start_s, 3),
                round(size * 8 / seconds / 1000, 3), score.vmaf, round(sample.weight, 6),
            )
            for each, size, score in zip(encoded, sizes, scores, strict=True)
        ]  # fmt: skip


def _batches(rungs: Sequence[Rung]) -> list[list[Rung]]:
    """As few processes as memory allows; each takes all sizes of a quality, so that scaling is shared."""
    batches: list[list[Rung]] = []
    room = 0
    for rung in sorted(rungs, key=lambda rung: (rung.codec, rung.crf)):
        pixels = rung.width * rung.height
        if pixels > room:
            batches.append([])
            room = _PIXELS_AT_ONCE
        batches[-1].append(rung)
        room -= pixels
    return batches


def _cut(path: Path, before: int, frames: int) -> int:
    """Keep so many frames of a file after as many others, all of them whole closed GOPs; returns their bytes.

    Without the container's own, which weigh on the smallest rungs.
    """
    import av

    kept = path.with_suffix(".cut.nut")
    with av.open(str(path)) as container, av.open(str(kept), "w") as out:
        stream = container.streams.video[0]
        copy = out.add_stream_from_template(stream, opaque=True)
        packets = [packet for packet in container.demux(stream) if packet.size]
        if len(packets) < before + frames:
            raise TranscodingError(
                f"{path.name}: the encoder wrote {len(packets)} frames, {before + frames} are needed"
            )
        size = 0
        for packet in packets[before : before + frames]:
            size += packet.size
            packet.stream = copy
            out.mux(packet)
    kept.replace(path)
    return size


def store_probes(connection: psycopg.Connection, master_id: str, treatment: Treatment, probes: Sequence[Probe]) -> None:
    """Remember probes of a master; those of the same codec, size, CRF and piece made the same way are replaced."""
    rows = [
        {
            "master_id": master_id, "settings": settings(probe.codec, treatment), "codec": probe.codec,
            "height": probe.height, "crf": probe.crf, "sample": probe.sample, "start_s": probe.start_s,
            "kbps": probe.kbps, "vmaf": probe.vmaf, "weight": probe.weight,
        }
        for probe in probes
    ]  # fmt: skip
    with connection.cursor() as cursor:
        cursor.executemany(_SQL["store_probe"], rows)


def load_probes(connection: psycopg.Connection, master_id: str, treatment: Treatment) -> tuple[Probe, ...]:
    """What is known of a master that this treatment can use; empty where it was never probed this way."""
    ways = [settings(codec, treatment) for codec in codecs_of(treatment)]
    rows = connection.execute(_SQL["load_probes"], {"master_id": master_id, "settings": ways}).fetchall()
    return tuple(Probe(*row) for row in rows)


def settings(codec: str, treatment: Treatment) -> str:
    """How a codec is probed: what else than the film decides the numbers."""
    preset = treatment.h264_preset if codec == "h264" else AV1_PRESET
    return f"{codec} {preset}, probes {PROBES_VERSION}, ffmpeg {ffmpeg.version()}"
