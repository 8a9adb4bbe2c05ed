"""Pages of what the gate saw: complete, bounded, and loading nothing from anywhere."""

import json
import os
import re
import shutil

from warehouse.datadocs import write_data_docs
from warehouse.gate import LandedFile, check, check_batches


def test_pages_of_passed_and_held_batches(settings, landing, event):
    root, gate = settings.lake.root, settings.lake.build_file.parent / "gate"
    good, bad = landing.land([event()]), landing.land([event(type="dance<b>"), event()])
    check(root, "events/2026-03-01", [LandedFile(good, 1)], gate)
    check(root, "events/2026-03-02", [LandedFile(bad, 2)], gate)
    check(root, "import:x", [LandedFile("landing/gone.parquet", 1)], gate)
    index = write_data_docs(settings)
    assert [*sorted(re.findall(r'href="([^"]+)"', index.read_text()))] == sorted(
        page.name for page in index.parent.glob("*-*.html")
    )
    pages = {
        page.name.split("-held")[0].split("-passed")[0]: page.read_text() for page in index.parent.glob("*-*.html")
    }
    assert set(pages) == {"events-2026-03-01", "events-2026-03-02", "import-x"}
    assert "must belong to this set" in pages["events-2026-03-02"], "Great Expectations' own words"
    assert "below are of: all rows of this batch." in pages["events-2026-03-02"]
    assert "below are of: the smallest and largest values in the files of this batch." in pages["events-2026-03-01"]
    batches = [("events/2026-03-01", [LandedFile(good, 1)]), ("import:y", [LandedFile(good, 1)])]
    passed = check_batches(root, batches, gate)[0].report
    assert passed
    assert "and of 1 more that passed with it" in json.loads(passed.read_text())["shows"]
    assert "dance&lt;b&gt;" in pages["events-2026-03-02"]
    assert "dance<b>" not in pages["events-2026-03-02"]
    assert "file_is_readable" in pages["import-x"]
    assert "file_is_readable" in index.read_text()
    for page in pages.values():
        assert not re.search(r"<(script|link|img|iframe)\b|url\(|@import", page)


def test_pages_are_made_once_and_kept_in_bounds(settings):
    gate = settings.lake.build_file.parent / "gate"
    for day, name in [(1, "passed"), (2, "passed"), (3, "passed"), (1, "held-part-1"), (2, "held-part-2")]:
        path = gate / f"events-2026-03-0{day}" / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        told = {"batch": path.parent.name, "success": name == "passed", "rows": 1, "files": ["f"], "checks": []}
        path.write_text(json.dumps({**told, "validation": {}}))
        os.utime(path, (day, day))
    folder = write_data_docs(settings, keep=2).parent
    kept = {"02-passed", "03-passed", "01-held-part-1", "02-held-part-2"}
    assert {page.stem.removeprefix("events-2026-03-") for page in folder.glob("*-*.html")} == kept
    assert {path.stem for path in gate.rglob("passed.json")} == {"passed"}
    assert not (gate / "events-2026-03-01" / "passed.json").exists()
    before = {page: page.stat().st_mtime_ns for page in folder.glob("*-*.html")}
    write_data_docs(settings, keep=2)
    assert {page: page.stat().st_mtime_ns for page in folder.glob("*-*.html")} == before
    shutil.rmtree(gate)
    assert list(write_data_docs(settings).parent.glob("*-*.html")) == []
