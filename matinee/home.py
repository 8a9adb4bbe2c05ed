"""Where everything lives below `$MATINEE_HOME`; deleting the folder resets the machine."""

import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

# The kernel's limit for a Unix socket path is 108 bytes; some clients stop at 100.
SOCKET_PATH_LIMIT = 100


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
    def reports(self) -> Path:
        return self.root / "reports"

    @property
    def inbox(self) -> Path:
        """Where feeds (`feeds/*.jsonl`) and films (`masters/`) may be dropped; sensors and `matinee build` take them in."""
        return self.root / "inbox"

    @property
    def sockets(self) -> Path:
        """The folder of PostgreSQL's socket: `run/pg`, or a short private one when that path would be too long."""
        wanted = self.run / "pg"
        if len(os.fsencode(wanted / ".s.PGSQL.5432")) <= SOCKET_PATH_LIMIT:
            return wanted
        mark = hashlib.sha256(os.fsencode(self.root)).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"matinee-{os.getuid()}-{mark}"

    def create(self) -> "Home":
        """Make the folders. A home that cannot be written raises `OSError` with the path in it."""
        self.root.mkdir(parents=True, exist_ok=True)
        for folder in (self.logs, self.run, self.media, self.lake, self.mlflow, self.dagster, self.reports):
            folder.mkdir(exist_ok=True)
        self.secrets.mkdir(mode=0o700, exist_ok=True)
        return self
