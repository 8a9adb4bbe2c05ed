import hashlib
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from matinee.settings import Settings


@pytest.fixture
def add_master(settings: Settings) -> Callable[..., str]:
    """Put a file into the media store as an accepted master of a title, as ingest does; returns the master's id."""

    def add(path: Path, title_id: str | None) -> str:
        master_id = hashlib.sha256(path.read_bytes()).hexdigest()
        stored = Path("~masters") / f"{master_id}{path.suffix}"
        (settings.media / stored).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, settings.media / stored)
        with psycopg.connect(settings.database()) as connection:
            if title_id is not None:
                connection.execute(
                    "INSERT INTO title (title_id, kind, maturity) VALUES (%s, 'film', 0) ON CONFLICT DO NOTHING",
                    (title_id,),
                )
            connection.execute(
                "INSERT INTO master (master_id, title_id, file_name, stored_path, bytes, state) "
                "VALUES (%s, %s, %s, %s, %s, 'accepted')",
                (master_id, title_id, path.name, str(stored), path.stat().st_size),
            )
        return master_id

    return add


@pytest.fixture(scope="session")
def film(ffmpeg: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Make a small film: `film("name.mp4", "testsrc2=...", sounds={"eng": 440}, options=[...])`."""
    folder = tmp_path_factory.mktemp("films")

    def make(name: str, picture: str, sounds: dict[str, int] | None = None, options: list[str] | None = None) -> Path:
        path = folder / name
        inputs, maps = ["-f", "lavfi", "-i", picture], ["-map", "0:v"]
        for number, (language, hertz) in enumerate((sounds or {}).items()):
            inputs += ["-f", "lavfi", "-i", f"sine=frequency={hertz}"]
            maps += ["-map", f"{number + 1}:a", f"-metadata:s:a:{number}", f"language={language}"]
        arguments = ["-c:v", "libx264", "-preset", "ultrafast", "-threads", "1", *(options or []), "-shortest", path]
        subprocess.run([ffmpeg, "-v", "error", "-y", *inputs, *maps, *arguments], check=True)
        return path

    return make


@pytest.fixture(scope="session")
def packaged(ffmpeg: Path, film: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`clear` and `sealed` packages of 13 s with everything in them; not to be changed: copy them.

    29.97 frames/s, two rungs, sound in two languages, subtitles and forced subtitles, key frames. The secret of a
    sealed one's key is what its address ends with, repeated to 16 bytes.
    """
    from transcoding.encode import encode
    from transcoding.package import measure, write_manifests
    from transcoding.plan import plan_ladder
    from transcoding.protect import Key, encrypt
    from transcoding.source import read_source
    from transcoding.subtitles import write_subtitles
    from transcoding.trick import write_iframes

    folder = tmp_path_factory.mktemp("packaged")
    picture = film(
        "whole.mp4", "testsrc2=size=640x360:rate=30000/1001:duration=13", {"eng": 440, "rus": 660}, ["-c:a", "aac"]
    )
    both = "1\n00:00:01,000 --> 00:00:03,000\nHello\n\n2\n00:00:07,000 --> 00:00:09,000\nThere\n"
    (folder / "both.srt").write_text(both)
    (folder / "forced.srt").write_text("1\n00:00:07,000 --> 00:00:09,000\nThere\n")
    path = folder / "whole.mkv"
    subprocess.run(
        [ffmpeg, "-v", "error", "-i", picture, "-i", folder / "both.srt", "-i", folder / "forced.srt",
         "-map", "0", "-map", "1", "-map", "2", "-c:v", "copy", "-c:a", "copy", "-metadata:s:s", "language=eng",
         "-disposition:s:1", "forced", path],
        check=True,
    )  # fmt: skip
    source = read_source(path)
    plan = plan_ladder(source, heights=(360, 234))
    draft = folder / "clear"
    draft.mkdir()
    encode(plan, source, draft)
    write_subtitles(plan, source, folder, draft)
    write_iframes(draft, plan)
    renditions = measure(draft, plan)
    write_manifests(draft, renditions)
    shutil.copytree(draft, folder / "sealed")

    def key_of(tier: str, period: int) -> Key:
        name = f"{tier}-{period}"
        return Key(name, (name.encode() * 16)[:16])

    protected = encrypt(folder / "sealed", renditions, key_of)
    write_manifests(folder / "sealed", protected.renditions, key_of)
    return folder
