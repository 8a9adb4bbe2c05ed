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
