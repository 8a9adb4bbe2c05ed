"""One file from which a lost home comes back: PostgreSQL, the event log, the lake, MLflow's artifacts, secrets.

Not in it: media files (a list of them is), and what `matinee build` makes again (`lake/build`). What was written
while the backup ran may or may not be in it, but never half: the event log is copied before PostgreSQL is dumped, and
PostgreSQL before the lake, so that an event that moves on meanwhile is there twice rather than not at all.
"""

import json
import os
import shutil
import subprocess
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import IO

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from matinee.clock import Clock, SystemClock
from matinee.errors import MatineeError
from matinee.settings import Settings
from matinee.stack import postgres
from matinee.stack.session import prepare_database, services

FORMAT = 1
_MANIFEST = "manifest.json"
_DUMPS = "databases"
_EVENT_LOG = "redis/appendonly.aof"


class BackupError(MatineeError):
    """The backup cannot be written, read or put back."""


@dataclass(frozen=True)
class Contents:
    """What a backup holds."""

    databases: tuple[str, ...]
    files: int
    bytes: int
    media: int


def backup(settings: Settings, target: Path, clock: Clock | None = None) -> Contents:
    """Write everything to `target` (`.tar.gz`, `.tar.zst` or `.tar`, mode 0600): whole, or not at all.

    Raises:
        BackupError: the file exists, lies inside the home, or cannot be written; or a dump fails.
        StackError: PostgreSQL or Redis do not come up.
    """
    target = target.absolute()
    _check_target(settings, target)
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with (
            services(settings),
            tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as scratch,
            _writer(draft, target.name) as archive,
        ):
            contents = _fill(settings, archive, Path(scratch), (clock or SystemClock()).now().isoformat())
        os.replace(draft, target)
    except OSError as error:
        raise BackupError(f"cannot write the backup {target}: {error.strerror or error}") from None
    finally:
        draft.unlink(missing_ok=True)
    return contents


def restore(settings: Settings, source: Path) -> Contents:
    """Bring an empty home back to what the backup holds, and to the newest migration.

    A restore that fails leaves the home as empty as it was.

    Raises:
        BackupError: the home (or a database given by URL) is not empty, or the file is no backup of ours.
    """
    _check_empty(settings)
    existed = settings.home_path.exists()
    try:
        contents = _unpack(settings, source)
        dumps = settings.home.run / _DUMPS
        with services(settings, lambda s: _load(s, dumps, contents.databases)):
            shutil.rmtree(dumps)
    except BaseException:
        _empty(settings, existed)
        raise
    return contents


# -- writing -----------------------------------------------------------------------------------------------------------


def _check_target(settings: Settings, target: Path) -> None:
    if target.exists():
        raise BackupError(f"{target} exists: choose another name or remove it")
    if target.is_relative_to(settings.home_path):
        raise BackupError(f"{target} lies inside the home and would be lost with it: choose another folder")
    if not target.parent.is_dir():
        raise BackupError(f"there is no folder {target.parent}: make it first")
    if not (settings.home_path / "run").is_dir():
        raise BackupError(f"there is no home at {settings.home_path}: nothing to back up (set MATINEE_HOME?)")


@contextmanager
def _writer(path: Path, name: str) -> Iterator[tarfile.TarFile]:
    # The file holds secrets: nobody else may read it, not even while it grows.
    path.touch(mode=0o600)
    if name.endswith(".zst"):
        import pyarrow as pa

        with (
            pa.CompressedOutputStream(pa.OSFile(str(path), "wb"), "zstd") as stream,
            tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as archive,
        ):
            yield archive
    elif name.endswith((".gz", ".tgz")):
        # Most of it is compressed already, so the quickest level loses nothing.
        with tarfile.open(path, "w:gz", compresslevel=1, format=tarfile.PAX_FORMAT) as archive:
            yield archive
    else:
        with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
            yield archive


def _fill(settings: Settings, archive: tarfile.TarFile, scratch: Path, created_at: str) -> Contents:
    count = size = 0
    log = settings.home.redis / "appendonly.aof"
    if settings.embedded_redis and log.exists():
        shutil.copyfile(log, scratch / "appendonly.aof")
    databases = [label for label in ("", *postgres.NEIGHBOURS) if _dump(settings, label, scratch)]
    media = [f"{path.relative_to(settings.media)}\t{path.stat().st_size}" for path in _files(settings.media)]
    manifest = {"format": FORMAT, "created_at": created_at, "databases": databases, "media": len(media)}
    _add_bytes(archive, _MANIFEST, json.dumps(manifest).encode())
    _add_bytes(archive, "media.tsv", "\n".join(media).encode())
    named = [(path, f"{_DUMPS}/{path.name}") for path in sorted(scratch.glob("*.dump"))]
    named += [(path, _EVENT_LOG) for path in scratch.glob("appendonly.aof")]
    for label, folder in _folders(settings).items():
        skipped = folder / "build" if label == "lake" else None
        named += [(p, f"{label}/{p.relative_to(folder)}") for p in _files(folder, skipped)]
    for path, name in named:
        try:
            archive.add(path, name, recursive=False)
        except FileNotFoundError:  # an old snapshot or a merged file, removed by its owner since we listed it
            continue
        count, size = count + 1, size + path.lstat().st_size
    current = settings.lake.current
    if current.is_symlink():
        link = tarfile.TarInfo("lake/published/current")
        link.type, link.linkname = tarfile.SYMTYPE, str(current.readlink())
        archive.addfile(link)
        count += 1
    return Contents(tuple(databases), count, size, len(media))


def _folders(settings: Settings) -> dict[str, Path]:
    home = settings.home
    return {"lake": settings.lake.root, "mlflow": home.mlflow, "features": home.features, "secrets": home.secrets}


def _files(folder: Path, skipped: Path | None = None) -> list[Path]:
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink() and not (skipped and path.is_relative_to(skipped))
    )


def _add_bytes(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(data), 0o600
    archive.addfile(member, BytesIO(data))


def _dump(settings: Settings, label: str, scratch: Path) -> bool:
    """Dump one database; False: it does not exist (a neighbour that nobody used yet)."""
    url = settings.database(label or None)
    try:
        psycopg.connect(url, connect_timeout=5).close()
    except psycopg.OperationalError:
        if label:
            return False
        raise
    _run_tool("pg_dump", "--format=custom", f"--file={scratch / (label or 'matinee')}.dump", url=url)
    return True


def _run_tool(tool: str, *options: str, url: str) -> None:
    """One of PostgreSQL's own tools; the password, if any, goes through the environment."""
    words = {key: str(value) for key, value in conninfo_to_dict(url).items()}
    password = words.pop("password", None)
    argv = (str(postgres.binaries() / tool), *options, f"--dbname={make_conninfo(**words)}")
    env = {**os.environ, **({"PGPASSWORD": password} if password else {})}
    done = subprocess.run(argv, capture_output=True, text=True, env=env)
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise BackupError(f"{tool} failed for database {words.get('dbname')}: {said[-1] if said else done.returncode}")


# -- putting back ------------------------------------------------------------------------------------------------------


def _check_empty(settings: Settings) -> None:
    for folder in {settings.home_path, settings.lake.root}:
        if folder.exists() and (found := next((p for p in folder.rglob("*") if not p.is_dir()), None)):
            raise BackupError(f"{folder} is not empty ({found.relative_to(folder)}): restore into a new home")
    if not settings.embedded_postgres:
        with psycopg.connect(settings.database()) as connection:
            tables = connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone()
        if tables and tables[0]:
            raise BackupError(f"the database of MATINEE_DATABASE_URL has {tables[0]} tables: restore into an empty one")


def _unpack(settings: Settings, source: Path) -> Contents:
    count = size = 0
    manifest: dict[str, object] | None = None
    with _reader(source) as archive:
        for member in archive:
            if manifest is None:
                manifest = _read_manifest(source, member, archive)
                settings.home.create()
                continue
            top, _, rest = member.name.partition("/")
            root = _destination(settings, top)
            if root is None:
                continue
            _put(archive, member, root, PurePosixPath(rest))
            count, size = count + 1, size + member.size
    if manifest is None:
        raise BackupError(f"{source} is empty: it is no backup")
    databases = manifest["databases"]
    if not isinstance(databases, list):
        raise BackupError(f"{source}: its list of databases is damaged")
    return Contents(tuple(str(name) for name in databases), count, size, int(str(manifest["media"])))


def _put(archive: tarfile.TarFile, member: tarfile.TarInfo, root: Path, name: PurePosixPath) -> None:
    """Write one member. Plain files below the root, and links to a neighbour: nothing that could lead out of it."""
    if name.is_absolute() or ".." in name.parts or not name.parts:
        raise BackupError(f"the backup has a member that leads out of the home: {member.name!r}")
    target = root / name
    target.parent.mkdir(parents=True, exist_ok=True)
    if member.issym() and len(PurePosixPath(member.linkname).parts) == 1 and member.linkname != "..":
        target.symlink_to(member.linkname)
    elif file := archive.extractfile(member) if member.isreg() else None:
        # With its mode from the first byte on, so that a secret is never readable to others.
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, member.mode & 0o755)
        with os.fdopen(descriptor, "wb") as written:
            shutil.copyfileobj(file, written)
    else:
        raise BackupError(f"the backup has a member that is no file: {member.name!r}")


def _destination(settings: Settings, top: str) -> Path | None:
    if top == _DUMPS:
        return settings.home.run / _DUMPS
    if top == "redis":
        return settings.home.redis
    return _folders(settings).get(top)


def _read_manifest(source: Path, first: tarfile.TarInfo, archive: tarfile.TarFile) -> dict[str, object]:
    file = archive.extractfile(first) if PurePosixPath(first.name).name == _MANIFEST else None
    if file is None:
        raise BackupError(f"{source} is no backup of Matinee: it does not begin with {_MANIFEST}")
    manifest = json.load(file)
    if manifest.get("format") != FORMAT:
        raise BackupError(f"{source} has format {manifest.get('format')}, this version reads {FORMAT}: upgrade Matinee")
    return manifest


@contextmanager
def _reader(source: Path) -> Iterator[tarfile.TarFile]:
    try:
        with source.open("rb") as file:
            zstd = file.read(4) == b"\x28\xb5\x2f\xfd"
        with (
            _plain(source) if zstd else source.open("rb") as stream,
            tarfile.open(fileobj=stream, mode="r|" if zstd else "r|*") as archive,
        ):
            yield archive
    except FileNotFoundError:
        raise BackupError(f"there is no file {source}") from None
    except (EOFError, OSError, ValueError, zlib.error, tarfile.TarError) as error:
        raise BackupError(f"cannot restore {source} ({error}): the file may be cut short; take another one") from None


@contextmanager
def _plain(source: Path) -> Iterator[IO[bytes]]:
    import pyarrow as pa

    with pa.CompressedInputStream(pa.OSFile(str(source)), "zstd") as stream:
        yield stream


def _load(settings: Settings, dumps: Path, databases: tuple[str, ...]) -> None:
    postgres.ensure_databases(settings)
    for label in databases:
        path = dumps / f"{label or 'matinee'}.dump"
        _run_tool("pg_restore", "--no-owner", "--exit-on-error", str(path), url=settings.database(label or None))
    prepare_database(settings)


def _empty(settings: Settings, keep_root: bool) -> None:
    for folder in (settings.lake.root, settings.home_path):
        for entry in folder.iterdir() if folder.is_dir() else ():
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    if not keep_root and settings.home_path.exists():
        settings.home_path.rmdir()
