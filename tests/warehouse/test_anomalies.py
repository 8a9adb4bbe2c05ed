"""Incidents are found, ordinary weeks are not, and what a person accepts is published."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from matinee.clock import ManualClock
from matinee.settings import Settings
from warehouse import build_file, snapshot
from warehouse.anomalies.judge import Evidence, judge
from warehouse.anomalies.record import accept, known_anomalies
from warehouse.anomalies.statistics import compare_count, compare_share, population_stability, root, spread, unroot
from warehouse.errors import WarehouseError
from warehouse.publish import AnomalyError, publish

LAST = date(2026, 3, 29)
DAYS = 42
COUNTS = st.integers(0, 10**7)
quick = examples(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def ordinary(seed: int, days: int = DAYS, level: float = 60.0) -> Evidence:
    """Weeks with quiet nights and busy week-ends, twice as bursty as Poisson."""
    chance = np.random.default_rng(seed)
    hours: dict[str, dict[tuple[date, int], int]] = {"play": {}, "heartbeat": {}}
    nulls: dict[tuple[str, str], dict[date, tuple[int, int]]] = {("title_id", "play"): {}}
    devices: dict[date, dict[str, float]] = {}
    for day in (LAST - timedelta(days=back) for back in range(days)):
        busy = level * (1.3 if day.weekday() > 4 else 1.0)
        for hour in range(24):
            wave = busy * (1.2 + np.sin(hour / 24 * 2 * np.pi))
            for kind, many in (("play", 1), ("heartbeat", 9)):
                hours[kind][day, hour] = int(2 * chance.poisson(wave * many / 2))
        plays = sum(hours["play"][day, hour] for hour in range(24))
        nulls["title_id", "play"][day] = (int(chance.binomial(plays, 0.01)), plays)
        shares = chance.multinomial(plays, [0.5, 0.3, 0.15, 0.05])
        devices[day] = dict(zip(("tv", "web", "phone", "tablet"), map(float, shares), strict=True))
    end = datetime(LAST.year, LAST.month, LAST.day, tzinfo=UTC) + timedelta(days=1)
    return Evidence(end, hours, nulls, {"device": devices})


def found(evidence: Evidence) -> set[str]:
    return {finding.finding_id for verdict in judge(evidence) for finding in verdict.findings}


def change(evidence: Evidence, day: date, factor: float, hours: range = range(24)) -> Evidence:
    cells = {
        kind: {key: int(count * factor) if key[0] == day and key[1] in hours else count for key, count in of.items()}
        for kind, of in evidence.hours.items()
    }
    return replace(evidence, hours=cells)


@pytest.mark.parametrize("seed", range(5))
def test_ordinary_weeks_pass(seed):
    evidence = ordinary(seed, level=(1.0, 8.0, 60.0, 500.0, 5000.0)[seed])
    verdicts = {verdict.check: verdict for verdict in judge(evidence)}
    assert found(evidence) == set()
    assert verdicts["volume"].judged == 6 * 2 * 25, "six whole days; the seventh has only begun"


@pytest.mark.parametrize("day", [LAST, LAST - timedelta(days=2)])
@pytest.mark.parametrize(("factor", "hours"), [(0.5, range(24)), (0.0, range(8, 20)), (2.0, range(24))])
def test_half_a_day_missing_and_a_doubled_day_are_found(day, factor, hours):
    assert found(change(ordinary(1), day, factor, hours)) == {f"volume:{kind}:{day}" for kind in ("play", "heartbeat")}


def test_an_hour_that_is_missing_is_found_where_the_day_hardly_shows_it():
    evidence = change(ordinary(2, level=300), LAST, 0.0, range(20, 21))
    assert found(evidence) == {f"volume:{kind}@20h:{LAST}" for kind in ("play", "heartbeat")}


def test_hours_that_have_not_come_yet_are_not_missed():
    evidence = change(ordinary(3), LAST, 0.0, range(15, 24))
    noon = datetime(LAST.year, LAST.month, LAST.day, 15, 20, tzinfo=UTC)
    assert found(replace(evidence, watermark=noon)) == set()
    assert found(evidence) != set()


def test_a_column_turned_null_is_found_and_one_that_is_filled_is_not():
    evidence = ordinary(4)
    days = evidence.nulls["title_id", "play"]

    def with_nulls(share: float) -> Evidence:
        whole = days[LAST][1]
        return replace(evidence, nulls={("title_id", "play"): {**days, LAST: (int(whole * share), whole)}})

    assert found(with_nulls(1.0)) == found(with_nulls(0.1)) == {f"nulls:title_id/play:{LAST}"}
    assert found(with_nulls(0.03)) == found(with_nulls(0.0)) == set()


@pytest.mark.parametrize("device", ["tv", "tablet"])
def test_a_device_that_vanished_is_found(device):
    evidence = ordinary(5)
    days = evidence.mixes["device"]
    gone = replace(evidence, mixes={"device": {**days, LAST: {**days[LAST], device: 0.0}}})
    (finding,) = found(gone)
    assert finding in (f"mix:device:{LAST}", f"mix:device={device}:{LAST}")


def test_values_that_nobody_sent_before_are_found_from_a_share_of_the_day_on():
    evidence = ordinary(5)
    days = evidence.mixes["device"]
    plays = sum(days[LAST].values())

    def with_new(share: float, values: int, former: float = 0.0) -> Evidence:
        new = {f"zzz{n}": plays * share / (1 - share) / values for n in range(values)}
        week = LAST - timedelta(days=7)
        then = days | {LAST: {**days[LAST], **new}, week: {**days[week], "zzz0": former}}
        return replace(evidence, mixes={"device": then})

    for unusual in (with_new(0.019, 1), with_new(0.019, 40), with_new(0.019, 1, former=1.0)):
        assert found(unusual) == set()
    for values in (1, 40):
        (finding,) = found(with_new(0.025, values))
        assert finding in (f"mix:device:{LAST}", f"mix:device=(other):{LAST}")
    hidden = with_new(0.019, 1).mixes["device"]
    hidden = {"device": hidden | {LAST: {**hidden[LAST], "tablet": 1.0}}}
    (finding,) = found(replace(evidence, mixes=hidden))
    assert finding in (f"mix:device:{LAST}", f"mix:device=tablet:{LAST}")


def test_too_little_history_passes_and_says_so():
    evidence = change(ordinary(6, days=21), LAST, 0.0)
    assert [(verdict.check, verdict.judged) for verdict in judge(evidence) if verdict.check != "nulls"] == [
        ("volume", 0),
        ("mix", 0),
    ]
    assert [verdict.judged for verdict in judge(Evidence(None))] == [0, 0, 0]


@quick
@given(st.lists(COUNTS, min_size=3, max_size=8), COUNTS)
def test_a_count_is_far_exactly_outside_its_band(history, observed):
    one = compare_count(observed, history, 1.0, 5.0)
    assert min(history) - 1 <= one.expected <= max(history) + 1
    assert one.low <= one.expected <= one.high
    if observed < one.low - 1e-6 * (1 + one.low) or observed > one.high + 1e-6 * one.high:
        assert abs(one.z) > 5
    elif one.low + 1e-6 * (1 + one.low) < observed < one.high * (1 - 1e-6):
        assert abs(one.z) < 5


@quick
@given(COUNTS)
def test_the_root_scale_goes_there_and_back(count):
    assert unroot(root(count)) == pytest.approx(count, abs=1e-6)


@quick
@given(st.integers(1, 10**6), st.floats(0, 1), st.lists(st.floats(0, 1), min_size=1, max_size=60))
def test_shares_stay_shares(whole, share, history):
    one = compare_share(int(whole * share), whole, history, 6.0)
    assert 0 <= one.low <= one.expected + 1e-9 <= one.high + 2e-9 <= 1 + 3e-9


@quick
@given(st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 10**6)), st.integers(2, 50))
def test_the_stability_index_is_zero_for_the_same_mix_and_never_negative(counts, times):
    assert population_stability(counts, counts) == pytest.approx(0, abs=1e-12)
    other = {name: count * times for name, count in counts.items()} | {"g": 7}
    index = population_stability(counts, other)
    assert index >= 0
    assert population_stability(other, counts) == pytest.approx(index)


def test_one_former_incident_hardly_widens_the_spread():
    chance = np.random.default_rng(1)
    groups = [[root(count) for count in chance.poisson(100, 8)] for _ in range(24)]
    clean = spread(groups, 0.0)
    assert clean == pytest.approx(1.0, abs=0.2)
    groups[3][2] = root(0)
    assert spread(groups, 0.0) < 1.2 * clean


@pytest.fixture
def small(tmp_path):
    """A build file with five weeks of events, a passed audit and one mart; the newest day has lost its evening."""
    settings = Settings.load(home=tmp_path / "home")
    settings.home.create()
    settings.lake.build_file.parent.mkdir(parents=True)
    with build_file.writing(settings) as warehouse:
        warehouse.execute("CREATE SCHEMA intermediate")
        warehouse.execute("CREATE SCHEMA marts")
        warehouse.execute("CREATE TABLE marts.mart_title_day AS SELECT 1 AS plays")
        node = "'model.matinee.mart_title_day', 'model', 'success', '', '', now()"
        warehouse.execute(f"INSERT INTO audit.node_result VALUES ({node})")
        warehouse.execute(
            """
            CREATE TABLE intermediate.int_events AS
            SELECT CASE WHEN n = 1 THEN 'import' ELSE 'live' END AS origin, NULL AS bot, 'play' AS event_type,
                   'tv' AS device, 'DE' AS country, moment + INTERVAL 1 SECOND AS received_at, moment AS event_ts,
                   CAST(moment AS DATE) AS event_date, 'a' AS account_key, 'p' AS profile_key, 's' AS session_id,
                   'b' AS playback_id, 't' AS title_id, 1 AS position_ms, 1 AS played_ms, 1 AS startup_ms, 1 AS bits,
                   '720p' AS rendition
            FROM range(1, 40) r(n),
                 range(TIMESTAMPTZ '2026-02-20 00:30Z', TIMESTAMPTZ '2026-03-27 00:30Z', INTERVAL 1 HOUR) h(moment)
            WHERE n = 1 OR NOT (CAST(moment AS DATE) = DATE '2026-03-25' AND hour(moment) >= 12)
            """
        )
    return settings


def test_an_anomaly_stops_publication_until_a_person_accepts_it(small):
    clock = ManualClock(datetime(2026, 3, 27, tzinfo=UTC))
    with pytest.raises(AnomalyError, match=r"volume:play:2026-03-25 is 456, expected .* accept DAY"):
        publish(small, clock=clock)
    with pytest.raises(snapshot.NoSnapshotError):
        snapshot.current(small.lake)
    (volume, nulls, mix) = known_anomalies(small)
    assert [known.finding.observed for known in volume.found] == [12 * 38]
    assert not volume.passed
    assert nulls.passed
    assert nulls.judged > 50
    assert mix.judged > 10
    with pytest.raises(WarehouseError, match="2026-03-24"):
        accept(small, ["2026-03-25", "2026-03-24"], "ann", "power cut")
    with pytest.raises(WarehouseError, match="--why"):
        accept(small, ["2026-03-25"], "ann", " ")
    assert len(accept(small, ["2026-03-25"], "ann", "power cut", clock=clock)) == 1
    made = publish(small, clock=clock)
    assert (made.changed, set(made.tables)) == (True, {"mart_title_day"})
    (known,) = known_anomalies(small)[0].found
    assert (known.accepted_by, known.why, known.accepted_at) == ("ann", "power cut", clock.now())
    assert not known.blocks
