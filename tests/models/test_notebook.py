"""The worked example runs on a snapshot from top to bottom, and is kept without outputs."""

from pathlib import Path

import pytest

from matinee.settings import Settings

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "recommendations.ipynb"


def test_the_notebook_runs_and_says_what_it_should(
    settings: Settings, make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    import nbformat

    make.publish(settings, make.ring(60), make.chains(150, 60))
    monkeypatch.setenv("MATINEE_HOME", str(settings.home.root))
    monkeypatch.setenv("PYTHONPATH", str(NOTEBOOK.parents[1]))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    done = nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    said = "".join(str(cell.get("outputs", "")) for cell in done.cells)
    assert "EASE against popularity: +" in said
    assert "image/png" in said
    assert "because of" in said


def test_the_notebook_is_kept_without_outputs() -> None:
    import nbformat

    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    assert all(not cell.get("outputs") and cell.get("execution_count") is None for cell in notebook.cells)
