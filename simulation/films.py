"""The demo's films: real video files with picture, sound and a title card, drawn from a seed."""

import hashlib
import importlib.resources
import os
import subprocess
import tempfile
import wave
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from simulation.errors import SimulationError
from simulation.melody import SAMPLE_RATE, melody
from simulation.scenes import Drawn, Filtered, scene

if TYPE_CHECKING:
    from PIL import ImageFont

_VERSION = 1  # changes whenever the same spec would give another film
_CARD_S = 4.0
_LARGE = 640  # wider films are drawn at half their size and scaled up
_TIMEOUT_S = 300


@dataclass(frozen=True)
class FilmSpec:
    """One film to make: its title in two languages, what it is drawn from, pixels, frames/s and seconds."""

    title_id: str
    title_en: str
    title_ru: str
    seed: int
    width: int
    height: int
    fps: int
    duration_s: float


def make_films(
    folder: Path, specs: Sequence[FilmSpec], on_progress: Callable[[int, int], None] | None = None
) -> list[Path]:
    """Make `<title_id>.mp4` (H.264, AAC) in the folder for each spec; returns the paths in the order of the specs.

    The same spec gives the same bytes on the same machine, and a film that is there already is left alone.
    `on_progress(done, total)` hears of each film.

    Raises:
        SimulationError: ffmpeg cannot make a film; one line says which and why.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1), thread_name_prefix="films") as pool:
        for path in pool.map(lambda spec: make_film(folder, spec), specs):
            paths.append(path)
            if on_progress is not None:
                on_progress(len(paths), len(specs))
    return paths


def make_film(folder: Path, spec: FilmSpec) -> Path:
    """One film; see `make_films`."""
    path, mark = folder / f"{spec.title_id}.mp4", _mark(spec)
    if _mark_of(path) == mark:
        return path
    width, height = (spec.width // 2, spec.height // 2) if spec.width > _LARGE else (spec.width, spec.height)
    picture = scene(spec.seed, width, height, spec.fps, spec.duration_s)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".making-") as scratch:
        card, sound, film = (Path(scratch) / name for name in ("card.png", "sound.wav", "film.mp4"))
        write_card(card, spec)
        _write_wave(sound, melody(spec.seed, spec.duration_s))
        inputs = _picture_input(picture, width, height, spec.fps)
        _run(spec, [*inputs, *_arguments(spec, card, sound, mark), str(film)], picture)
        os.replace(film, path)
    return path


def _picture_input(picture: Drawn | Filtered, width: int, height: int, fps: int) -> list[str]:
    if isinstance(picture, Filtered):
        return ["-f", "lavfi", "-i", picture.graph]
    return ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(fps), "-i", "pipe:0"]


def _arguments(spec: FilmSpec, card: Path, sound: Path, mark: str) -> list[str]:
    card_fade = f"fade=t=in:d=0.5:alpha=1,fade=t=out:st={_CARD_S - 0.7}:d=0.7:alpha=1"
    graph = (
        f"[0:v]scale={spec.width}:{spec.height}:flags=bicubic,setsar=1[picture];[1:v]{card_fade}[card];"
        "[picture][card]overlay=eof_action=pass,format=yuv420p[v]"
    )
    # One thread and no stamps of time or machine: the same film again is the same file.
    return [
        "-loop", "1", "-framerate", str(spec.fps), "-t", str(_CARD_S), "-i", f"file:{card}", "-i", f"file:{sound}",
        "-filter_complex", graph, "-map", "[v]", "-map", "2:a", "-t", str(spec.duration_s),
        "-c:v", "libx264", "-preset", "ultrafast", "-crf", "22", "-g", str(2 * spec.fps), "-threads", "1",
        "-c:a", "aac", "-aac_coder", "fast", "-b:a", "96k",
        "-metadata", f"comment={mark}", "-metadata:s:a:0", "language=eng",
        "-fflags", "+bitexact", "-flags:v", "+bitexact", "-flags:a", "+bitexact", "-movflags", "+faststart",
        "-f", "mp4",
    ]  # fmt: skip


def _run(spec: FilmSpec, arguments: list[str], picture: Drawn | Filtered) -> None:
    import imageio_ffmpeg

    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *arguments]
    with tempfile.TemporaryFile() as complaints:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=complaints)
        try:
            assert process.stdin is not None
            with process.stdin as pipe:
                if isinstance(picture, Drawn):
                    for number in range(round(spec.fps * spec.duration_s)):
                        pipe.write(_frame(picture, number / spec.fps))
            process.wait(_TIMEOUT_S)
        except BrokenPipeError:
            process.wait(_TIMEOUT_S)
        finally:
            process.kill()
            process.wait()
        complaints.seek(0)
        lines = complaints.read().decode(errors="replace").strip().splitlines()
    if process.returncode != 0:
        raise SimulationError(
            f"film {spec.title_id}: {lines[0] if lines else f'ffmpeg ended with {process.returncode}'}"
        )


def _frame(picture: Drawn, at: float) -> memoryview:
    shades = (np.clip(picture.field(at), 0, 1) * 255).astype(np.uint8)
    return np.ascontiguousarray(picture.palette[shades]).data


def write_card(path: Path, spec: FilmSpec) -> None:
    """A transparent PNG as large as the film: the title in English and, below it, in Russian, on a dark band."""
    from PIL import Image, ImageDraw

    image = Image.new("RGBA", (spec.width, spec.height))
    draw = ImageDraw.Draw(image)
    middle, unit = spec.height / 2, spec.height / 100
    draw.rectangle([(0, middle - 22 * unit), (spec.width, middle + 22 * unit)], fill=(0, 0, 0, 170))
    for text, at, size, colour in (
        (spec.title_en, middle - 8 * unit, 14 * unit, (255, 255, 255, 255)),
        (spec.title_ru, middle + 10 * unit, 9 * unit, (255, 214, 120, 255)),
    ):
        draw.text((spec.width / 2, at), text, font=_font(text, size, 0.94 * spec.width), fill=colour, anchor="mm")
    image.save(path)


def _font(text: str, size: float, room: float) -> "ImageFont.FreeTypeFont":
    """DejaVu Sans, which has Cyrillic and comes with matplotlib, as large as asked for but no wider than the room."""
    from PIL import ImageFont

    file = importlib.resources.files("matplotlib") / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"
    font = ImageFont.truetype(str(file), max(6, round(size)))
    wide = font.getlength(text)
    return font if wide <= room else ImageFont.truetype(str(file), max(6, int(size * room / wide)))


def _write_wave(path: Path, samples: np.ndarray) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes(samples.tobytes())


def _mark(spec: FilmSpec) -> str:
    return hashlib.sha256(repr((_VERSION, astuple(spec))).encode()).hexdigest()[:16]


def _mark_of(path: Path) -> str | None:
    """The mark of the spec that a film was made from; None where there is no such film."""
    import av
    from av.error import FFmpegError

    try:
        with av.open(str(path)) as container:
            return container.metadata.get("comment")
    except (FFmpegError, OSError):
        return None
