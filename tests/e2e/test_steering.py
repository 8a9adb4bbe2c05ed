"""The loop of the encoder: a quick package, viewers who like it, a decision, a better package, and features of it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from matinee.settings import Settings
from simulation.catalogue import write_feed

MATINEE = Path(sys.executable).with_name("matinee")
TITLE = "film-glass-harbour"
# Enough to encode four seconds of film with probes, too little for AV1.
SETTINGS = {"transcode_treatment": "fast", "transcode_budget_cpu_s": 6.5}


def done(settings: Settings, *words: str) -> str:
    env = {**os.environ, **settings.environment(), "COLUMNS": "160"}
    finished = subprocess.run([MATINEE, *words], env=env, capture_output=True, text=True, timeout=600)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def packages(settings: Settings) -> list[tuple]:
    with psycopg.connect(settings.database()) as connection:
        return connection.execute(
            "SELECT treatment, superseded_at IS NOT NULL FROM package WHERE title_id = %s ORDER BY created_at", (TITLE,)
        ).fetchall()


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_what_is_watched_is_encoded_better_and_what_was_learnt_is_a_feature(
    settings: Settings, clip: Path, tmp_path: Path
) -> None:
    settings = settings.model_copy(update=SETTINGS)
    feed, films = tmp_path / "feed.jsonl", tmp_path / "films"
    write_feed(feed)
    films.mkdir()
    shutil.copy(clip, films / f"{TITLE}.mp4")
    done(settings, "ingest", "catalog", str(feed))
    done(settings, "ingest", "masters", str(films))
    done(settings, "simulate", "--viewers", "80", "--days", "14", "--seed", "3", "--run", "small")

    assert "transcoding/treatments" in done(settings, "build")
    assert packages(settings) == [("fast", False)]
    with psycopg.connect(settings.database()) as connection:
        (decided,) = connection.execute("SELECT title_id, treatment, saved_gb > 0 FROM title_treatment").fetchall()
    assert decided == (TITLE, "standard", True)
    hours = "SELECT round(sum(hours), 6) AS n FROM {} WHERE title_id = '" + TITLE + "'"
    saving = done(settings, "sql", hours.format("mart_encoding_saving"), "--csv")
    assert saving == done(
        settings, "sql", hours.format("(SELECT title_id, hours_viewed AS hours FROM mart_title_day)"), "--csv"
    )

    done(settings, "build", 'key:"transcoding/packages"+')
    assert packages(settings) == [("fast", True), ("standard", False)]
    with psycopg.connect(settings.database()) as connection:
        assert connection.execute("SELECT count(*) FROM title_treatment").fetchone() == (1,), "nothing flaps"
    rate = done(
        settings, "sql", f"SELECT kbps_vmaf_95 > 50 FROM feat_title_content WHERE title_id = '{TITLE}'", "--csv"
    )
    assert rate.strip().splitlines()[-1].lower() == "true"
