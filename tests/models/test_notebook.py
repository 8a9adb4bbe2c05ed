"""The worked examples run on a snapshot from top to bottom, and are kept without outputs."""

from pathlib import Path

import pytest

from matinee.settings import Settings

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
SAID = {
    "recommendations": ("EASE against popularity: +", "image/png", "because of"),
    "promotion": ("promoted: knn", "refused: shuffled", "notebook-1", "surely_better"),
}


@pytest.mark.parametrize("name", SAID)
def test_the_notebook_runs_and_says_what_it_should(
    name: str, settings: Settings, make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    import nbformat

    make.publish(settings, make.ring(60), make.chains(150, 60))
    monkeypatch.setenv("MATINEE_HOME", str(settings.home.root))
    monkeypatch.setenv("PYTHONPATH", str(NOTEBOOKS.parent))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    done = nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    said = "".join(str(cell.get("outputs", "")) for cell in done.cells)
    assert [words for words in SAID[name] if words not in said] == [], said


@pytest.mark.parametrize("name", SAID)
def test_the_notebook_is_kept_without_outputs(name: str) -> None:
    import nbformat

    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    nbformat.validate(notebook)
    assert all(not cell.get("outputs") and cell.get("execution_count") is None for cell in notebook.cells)
