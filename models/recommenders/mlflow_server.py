"""MLflow's REST API, as documented, without its client: which version an alias names, and the version's files."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

import httpx

from models.errors import ModelError
from models.recommenders.files import FILES

_MODEL, _ALIAS = "matinee-recommender", "champion"  # as the registry says, which would import MLflow
_MISSING = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
_UNEXPECTED = (httpx.HTTPError, LookupError, TypeError, AttributeError, ValueError)  # the last: it is no JSON


class AwayError(ModelError):
    """MLflow does not answer, or not as documented."""


@dataclass(frozen=True)
class Named:
    """The version that the alias names, and what it was made of (`models:/m-…`, or a URI of its files' folder)."""

    version: str
    source: str


class Server:
    """One MLflow server."""

    def __init__(self, url: str, timeout: float = 10.0) -> None:
        self._url = url
        self._client = httpx.Client(base_url=url, timeout=timeout)

    def champion(self) -> Named | None:
        """What the alias names; None where no version has it.

        Raises:
            AwayError: the server does not answer, or not as documented.
        """
        asked = {"name": _MODEL, "alias": _ALIAS}
        try:
            found = self._client.get("/api/2.0/mlflow/registered-models/alias", params=asked)
            if found.status_code in (400, 404) and found.json()["error_code"] in _MISSING:
                return None
            version = found.raise_for_status().json()["model_version"]
            return Named(str(version["version"]), str(version["source"]))
        except _UNEXPECTED as error:
            raise AwayError(f"MLflow at {self._url} does not answer ({_brief(error)})") from error

    def files(self, named: Named) -> str:
        """The URI of the folder with the version's files.

        Raises:
            ModelError: MLflow knows of none.
        """
        folder = named.source
        if folder.startswith("models:/m-"):
            try:
                found = self._client.get(f"/api/2.0/mlflow/logged-models/{folder.removeprefix('models:/')}")
                folder = found.raise_for_status().json()["model"]["info"]["artifact_uri"]
            except _UNEXPECTED as error:
                raise ModelError(f"MLflow cannot say where the files of model {named.version} are") from error
        return f"{folder}/artifacts/model"

    def fetch(self, named: Named, folder: Path) -> None:
        """Copy the version's files into `folder`.

        Raises:
            ModelError: they are gone, of another layout, or lie where this process cannot read.
        """
        at = self.files(named)
        for name in FILES:
            try:
                self._copy(at, name, folder / name)
            except (OSError, httpx.HTTPError) as error:
                gone = isinstance(error, FileNotFoundError) or _status(error) == 404
                why = (
                    f"there is no {name}: they were deleted, or an older Matinee made them; `matinee build` trains anew"
                    if gone
                    else _brief(error)
                )
                raise ModelError(f"the files of model {named.version} at {at} cannot be read: {why}") from error

    def _copy(self, at: str, name: str, target: Path) -> None:
        where = urlsplit(at)
        if where.scheme in ("", "file"):
            shutil.copyfile(Path(unquote(where.path)) / name, target)
            return
        if where.scheme != "mlflow-artifacts":
            raise ModelError(f"the model's files lie at {at}: nothing here reads that")
        path = f"/api/2.0/mlflow-artifacts/artifacts/{quote(unquote(where.path).lstrip('/'))}/{name}"
        with self._client.stream("GET", path) as found, target.open("wb") as file:
            found.raise_for_status()
            for part in found.iter_bytes():
                file.write(part)


def _status(error: Exception) -> int | None:
    return error.response.status_code if isinstance(error, httpx.HTTPStatusError) else None


def _brief(error: Exception) -> str:
    """One line: what HTTPX says of a status has an advertisement in its second."""
    status = _status(error)
    return f"status {status}" if status else f"{type(error).__name__}: {error}"
