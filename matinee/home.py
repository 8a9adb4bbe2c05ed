"""Where everything lives below `$MATINEE_HOME`; deleting the folder resets the machine."""

import errno
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from matinee.errors import HomeError

# The kernel's limit for a Unix socket path is 108 bytes; some clients stop at 100.
SOCKET_PATH_LIMIT = 100

_ELSEWHERE = "set MATINEE_HOME to a folder that you can write"
_REMEDIES = {
    errno.EROFS: _ELSEWHERE,
    errno.EACCES: _ELSEWHERE,
    errno.EPERM: _ELSEWHERE,
    errno.ENOTDIR: _ELSEWHERE,
    errno.EEXIST: _ELSEWHERE,
    errno.ENAMETOOLONG: "set MATINEE_HOME to a shorter path",
    errno.ENOSPC: "free some disk space or set MATINEE_HOME to another disk",
    errno.EDQUOT: "free some of your disk quota or set MATINEE_HOME to another disk",
    errno.EFBIG: "raise the limit on file sizes (ulimit -f)",
}


@dataclass(frozen=True)
class Home:
    root: Path

    @property
    def postgres(self) -> Path:
        return self.root / "postgres"

    @property
    def redis(self) -> Path:
        return self.root / "redis"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def secrets(self) -> Path:
        return self.root / "secrets"

    @property
    def run(self) -> Path:
        return self.root / "run"

    @property
    def media(self) -> Path:
        return self.root / "media"

    @property
    def lake(self) -> Path:
        return self.root / "lake"

    @property
    def mlflow(self) -> Path:
        return self.root / "mlflow"

    @property
    def dagster(self) -> Path:
        return self.root / "dagster"

    @property
    def features(self) -> Path:
        return self.root / "features"

    @property
    def models(self) -> Path:
        """Exported recommenders, a folder a version; `current` points at the one that serves."""
        return self.root / "models"

    @property
    def reports(self) -> Path:
        return self.root / "reports"

    @property
    def mail(self) -> Path:
        """A maildir with what would have been sent, where no mail server is given."""
        return self.root / "mail"

    @property
    def inbox(self) -> Path:
        """Where feeds (`feeds/*.jsonl`) and films (`masters/`) may be dropped; sensors and builds take them in."""
        return self.root / "inbox"

    @property
    def sockets(self) -> Path:
        """The folder of PostgreSQL's socket: `run/pg`, or a short private one when that path would be too long."""
        wanted = self.run / "pg"
        if len(os.fsencode(wanted / ".s.PGSQL.5432")) <= SOCKET_PATH_LIMIT:
            return wanted
        mark = hashlib.sha256(os.fsencode(self.root)).hexdigest()[:12]
        # Not $TMPDIR: two commands with different environments must find the same socket.
        return Path("/tmp") / f"matinee-{os.getuid()}-{mark}"  # noqa: S108 - its owner and mode are checked before use

    def create(self) -> "Home":
        """Make the folders.

        Raises:
            HomeError: the home cannot be made or written.
        """
        with self.usable():
            self.root.mkdir(parents=True, exist_ok=True)
            for folder in (self.logs, self.run, self.media, self.lake, self.mlflow, self.dagster, self.reports):
                folder.mkdir(exist_ok=True)
            self.secrets.mkdir(mode=0o700, exist_ok=True)
            if not os.access(self.root, os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self.root))
        return self

    @contextmanager
    def usable(self) -> Iterator[None]:
        """Turn what the operating system says about a home that cannot be written into one clear line.

        Raises:
            HomeError: the block met a read-only, full or forbidden file system.
        """
        try:
            yield
        except OSError as error:
            remedy = _REMEDIES.get(error.errno or 0)
            if remedy is None:
                raise
            where = error.filename or self.root
            raise HomeError(f"cannot write {where} ({error.strerror}): {remedy}") from None
