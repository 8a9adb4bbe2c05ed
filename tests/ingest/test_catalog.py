import json
from pathlib import Path

import pytest

from ingest.catalog import draft_title, ingest_feed
from ingest.errors import IngestError

FILM = {
    "id": "film-1", "kind": "film", "titles": {"en": "The Film", "ru": "Фильм"},
    "synopsis": {"en": "It happens.", "de": "Ja."},
    "year": 1999, "runtime_s": 5400, "genres": ["drama"], "tags": ["x"],
    "people": [{"name": "A. B.", "role": "director"}],
    "maturity": 12, "countries": ["DE"], "images": {"poster": "p.jpg"}, "extra": {"any": [1, {"thing": None}]},
    "offers": [{"kind": "free"}, {"kind": "rent", "price": "3.50", "currency": "EUR", "regions": ["DE"],
                                  "from": "2026-01-01T00:00:00Z", "until": "2026-02-01T00:00:00Z"}],
}  # fmt: skip


def _title(title_id, kind="film", parent=None, **more):
    return {"id": title_id, "kind": kind, "titles": {"en": title_id}, **({"parent": parent} if parent else {}), **more}


def _write(folder: Path, *lines: object) -> Path:
    path = folder / "feed.jsonl"
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return path


def _dump(connection):
    tables = ("title", "title_text", "title_person", "offer", "feed_rejection")
    return {name: connection.execute(f"SELECT * FROM {name} ORDER BY 1, 2").fetchall() for name in tables}


def test_a_feed_becomes_titles_and_a_second_run_changes_nothing(connection, tmp_path):
    path = _write(tmp_path, FILM, "", _title("film-2"), "{broken")
    first = ingest_feed(connection, path)
    before = _dump(connection)
    second = ingest_feed(connection, path)
    assert (first.titles.added, first.titles.changed, first.titles.unchanged, len(first.rejected)) == (2, 0, 0, 1)
    assert (second.titles.added, second.titles.changed, second.titles.unchanged, len(second.rejected)) == (0, 0, 2, 1)
    assert _dump(connection) == before
    texts = connection.execute(
        "SELECT language, title, synopsis FROM title_text WHERE title_id = 'film-1' ORDER BY 1"
    ).fetchall()
    assert texts == [("de", "The Film", "Ja."), ("en", "The Film", "It happens."), ("ru", "Фильм", "")]
    offers = connection.execute(
        "SELECT kind, price, lower(open)::date::text, upper(open)::date::text FROM offer ORDER BY position"
    )
    assert [(k, p and float(p), a, b) for k, p, a, b in offers] == [
        ("free", None, None, None),
        ("rent", 3.5, "2026-01-01", "2026-02-01"),
    ]
    assert connection.execute("SELECT extra FROM title WHERE title_id = 'film-1'").fetchone() == (
        {"any": [1, {"thing": None}]},
    )


def test_a_changed_line_replaces_what_the_title_had(connection, tmp_path):
    ingest_feed(connection, _write(tmp_path, FILM))
    summary = ingest_feed(connection, _write(tmp_path, {**FILM, "offers": [], "people": [], "titles": {"en": "New"}}))
    assert (summary.titles.changed, summary.titles.unchanged) == (1, 0)
    counts = connection.execute("SELECT (SELECT count(*) FROM offer), (SELECT count(*) FROM title_person)").fetchone()
    assert counts == (0, 0)


def test_the_same_line_written_differently_is_unchanged(connection, tmp_path):
    ingest_feed(connection, _write(tmp_path, FILM))
    turned = dict(reversed(FILM.items()))
    assert (
        ingest_feed(connection, _write(tmp_path, json.dumps(turned, ensure_ascii=False, indent=None))).titles.unchanged
        == 1
    )


def test_children_may_stand_before_their_parents(connection, tmp_path):
    lines = [
        _title("extra", "extra", "s1e1"),
        _title("s1e1", "episode", "s1", extra={"number": 1}),
        _title("s1", "season", "show", extra={"number": True}),
        _title("show", "series"),
    ]
    assert ingest_feed(connection, _write(tmp_path, *lines)).titles.added == 4
    rows = connection.execute("SELECT title_id, parent_id, number FROM title ORDER BY 1").fetchall()
    assert rows == [("extra", "s1e1", None), ("s1", "show", None), ("s1e1", "s1", 1), ("show", None, None)]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{broken", "not JSON"),
        ("[]", "a JSON object"),
        ('{"id": "x\x01"}', "not JSON"),
        (_title("x", "film", year="long ago"), "year"),
        (_title("x", "musical"), "kind"),
        (_title("x y"), "id"),
        (_title("."), "id: String should match pattern"),
        (_title(".."), "id: String should match pattern"),
        (_title("x", "episode"), "needs a parent"),
        (_title("x", "episode", "nowhere"), "unknown parent 'nowhere'"),
        (_title("x", "episode", "good"), "parent 'good' is a film"),
        (_title("x", "extra", "x"), "its own parent"),
        (_title("good"), "duplicate id 'good': line 1"),
        (_title("x", extra={"a": "b\0c"}), "NUL"),
        (_title("x", offers=[{"kind": "rent"}]), "price"),
        (_title("x", extra={"deep": json.loads("[" * 400 + "]" * 400)}), "cannot be stored"),
        ('{"id": "x", "pad": "' + "y" * 5_000_000 + '"}', "longer than"),
    ],
)  # fmt: skip
def test_a_wrong_line_is_kept_aside_and_the_rest_goes_on(connection, tmp_path, line, reason):
    summary = ingest_feed(connection, _write(tmp_path, _title("good"), line, _title("last")))
    assert summary.titles.added == 2
    (rejected,) = summary.rejected
    assert rejected.number == 2
    assert reason in rejected.reason
    stored = connection.execute("SELECT feed_name, line_number, reason, line FROM feed_rejection").fetchone()
    whole = (line if isinstance(line, str) else json.dumps(line)).encode()
    assert stored[:3] == ("feed.jsonl", 2, rejected.reason)
    assert whole.startswith(bytes(stored[3]))


def test_seasons_in_a_ring_are_refused(connection, tmp_path):
    summary = ingest_feed(connection, _write(tmp_path, _title("a", "season", "b"), _title("b", "season", "a")))
    assert summary.used == 0
    assert [line.number for line in summary.rejected] == [1, 2]


def test_what_hangs_under_a_refused_line_is_refused_with_it(connection, tmp_path):
    lines = (_title("show", "series", runtime_s=-1), _title("s1", "season", "show"), _title("e1", "episode", "s1"))
    assert [line.number for line in ingest_feed(connection, _write(tmp_path, *lines)).rejected] == [1, 2, 3]


def test_a_title_cannot_change_into_a_kind_that_orphans_its_children(connection, tmp_path):
    ingest_feed(connection, _write(tmp_path, _title("show", "series"), _title("e1", "episode", "show")))
    (rejected,) = ingest_feed(connection, _write(tmp_path, _title("show", "film"))).rejected
    assert "cannot become a film" in rejected.reason
    both = ingest_feed(connection, _write(tmp_path, _title("show", "film"), _title("e1", "extra", "show")))
    assert both.titles.changed == 2


def test_a_rejection_is_dropped_once_the_same_file_is_right(connection, tmp_path):
    path = _write(tmp_path, _title("s1", "season", "show"))
    assert len(ingest_feed(connection, path).rejected) == 1
    other = tmp_path / "other.jsonl"
    other.write_text(json.dumps(_title("show", "series")))
    ingest_feed(connection, other)
    assert ingest_feed(connection, path).titles.added == 1
    assert connection.execute("SELECT count(*) FROM feed_rejection").fetchone() == (0,)


def test_a_byte_order_mark_windows_line_ends_and_no_last_line_end(connection, tmp_path):
    path = tmp_path / "feed.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(_title("a")).encode() + b"\r\n" + json.dumps(_title("b")).encode())
    assert ingest_feed(connection, path).titles.added == 2


def test_a_feed_line_turns_a_draft_into_a_published_title(connection, tmp_path):
    assert draft_title(connection, "film-1", "Кино про кота", 2001)
    assert not draft_title(connection, "film-1", "Again")
    row = connection.execute(
        "SELECT state, feed_hash, language, o.kind"
        " FROM title JOIN title_text USING (title_id) JOIN offer o USING (title_id)"
    )
    assert row.fetchall() == [("draft", None, "ru", "free")]
    ingest_feed(connection, _write(tmp_path, FILM))
    assert connection.execute("SELECT state, feed_hash IS NULL FROM title").fetchall() == [("published", False)]


def test_a_feed_that_cannot_be_read_says_so(connection, tmp_path):
    with pytest.raises(IngestError, match=r"cannot read the feed .*nowhere.jsonl: No such file"):
        ingest_feed(connection, tmp_path / "nowhere.jsonl")
