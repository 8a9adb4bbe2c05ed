"""Subscriptions without a database: the table of moves, the calendar, the arithmetic of changes, what opens when."""

import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.billing.subscriptions.machine import MOVES, TABLE, Event, MoveError, State, move, possible
from serving.billing.subscriptions.periods import MAX_MONTHS, PeriodError, start_of
from serving.billing.subscriptions.proration import Change, Worth, anew, fair, monthly_net, prorated, within
from serving.billing.subscriptions.standing import Stretch, rewritten

ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Pacific/Apia", "Australia/Lord_Howe")
moments = st.integers(0, 40 * 366 * 86_400).map(lambda s: datetime(2020, 1, 1, tzinfo=UTC) + timedelta(seconds=s))
zones = st.sampled_from(ZONES)


def at(text: str, zone: str = "UTC") -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone))


def test_every_event_is_decided_in_every_state_and_every_state_can_be_reached():
    cells = [line.split() for line in TABLE.strip().splitlines()]
    assert set(cells[0]) | {"expired"} == set(State)
    assert sorted(row[0] for row in cells[1:]) == sorted(Event)
    assert all(len(row) == len(cells[0]) + 1 for row in cells[1:])
    reached, edge = set(), {State.INCOMPLETE, State.TRIALING}
    while edge:
        reached |= edge
        edge = {became for (state, _), became in MOVES.items() if state in reached} - reached
    assert reached == set(State)
    ends = {state for state in State if all(MOVES[state, event] is not State.EXPIRED for event in possible(state))}
    assert ends == {State.EXPIRED}, "what cannot end would be billed for ever"


def test_a_refused_move_says_what_is_possible():
    with pytest.raises(MoveError, match=r"paused cannot be pause_asked.*cancelled, changed"):
        move(State.PAUSED, Event.PAUSE_ASKED)
    with pytest.raises(MoveError, match="begin a new one"):
        move(State.EXPIRED, Event.KEPT)


@pytest.mark.parametrize(
    ("anchor", "zone", "months", "expected"),
    [
        ("2027-01-31T10:00", "UTC", 1, "2027-02-28T10:00"),
        ("2028-01-31T10:00", "UTC", 1, "2028-02-29T10:00"),
        ("2027-01-31T10:00", "UTC", 2, "2027-03-31T10:00"),
        ("2028-02-29T10:00", "UTC", 12, "2029-02-28T10:00"),
        ("2028-02-29T10:00", "UTC", 48, "2032-02-29T10:00"),
        ("2027-02-28T02:30", "Europe/Berlin", 1, "2027-03-28T03:30"),  # 02:30 is left out: an hour later by the clock
        ("2027-09-30T02:30", "Europe/Berlin", 1, "2027-10-30T02:30"),
        ("2027-02-14T02:30", "America/New_York", 1, "2027-03-14T03:30"),
        ("2027-01-15T18:00", "America/New_York", 3, "2027-04-15T18:00"),  # by the clock on the wall, not by hours
    ],
)
def test_the_calendar(anchor: str, zone: str, months: int, expected: str):
    assert start_of(at(anchor, zone), months, zone) == at(expected, zone).astimezone(UTC)


def test_of_a_time_that_comes_twice_the_first_counts():
    assert start_of(at("2027-09-30T02:30", "Europe/Berlin"), 1, "Europe/Berlin").hour == 0  # no change yet, +02:00
    fold = start_of(at("2027-08-31T02:30", "Europe/Berlin"), 2, "Europe/Berlin")  # 31 October: the clocks go back
    assert fold == datetime(2027, 10, 31, 0, 30, tzinfo=UTC)
    second = datetime(2027, 10, 31, 1, 30, tzinfo=UTC)  # 02:30 for the second time
    assert start_of(second, 0, "Europe/Berlin") == second


@given(moments, zones, st.integers(1, 60))
def test_periods_follow_one_another_without_gaps_and_keep_to_the_anchors_day(anchor: datetime, zone: str, count: int):
    starts = [start_of(anchor, months, zone) for months in range(count + 1)]
    assert starts[0] == anchor
    assert all(
        timedelta(days=27, hours=20) < b - a < timedelta(days=31, hours=28) for a, b in itertools.pairwise(starts)
    )
    local = anchor.astimezone(ZoneInfo(zone))
    for months, start in enumerate(starts):
        there = start.astimezone(ZoneInfo(zone))
        assert (there.year * 12 + there.month) - (local.year * 12 + local.month) == months
        assert there.day == local.day or there.day >= 28 or zone == "Pacific/Apia"


@pytest.mark.parametrize("wrong", [-1, MAX_MONTHS + 1])
def test_what_no_calendar_has_is_refused(wrong: int):
    with pytest.raises(PeriodError):
        start_of(at("2027-01-31T10:00"), wrong)
    for zone in ("Mars/Olympus", "../../etc/passwd", "", "Europe"):
        with pytest.raises(PeriodError, match="time zone"):
            start_of(at("2027-01-31T10:00"), 1, zone)


prices = st.integers(1, 10**11)
parts = st.floats(0, 1)


@given(prices, st.lists(parts, min_size=1, max_size=6), moments, st.integers(1, 366))
def test_parts_of_a_period_never_go_below_zero_nor_beyond_the_whole(price, cuts, since, days):
    until = since + timedelta(days=days)
    edges = sorted(since + (until - since) * cut for cut in cuts)
    pieces = [prorated(price, a, b, until - since) for a, b in zip([since, *edges], [*edges, until], strict=True)]
    assert all(0 <= piece <= price for piece in pieces)
    assert abs(sum(pieces) - price) <= len(pieces) / 2, "each is rounded by a half at most"
    rest = Worth(price, since, until)
    assert rest.unused(since - timedelta(days=1)) == price
    assert rest.unused(until) == rest.unused(until + timedelta(days=1)) == 0


@given(prices, prices, parts, parts, moments)
def test_a_change_there_and_back_loses_nothing_but_rounding(one, other, first, second, since):
    until = since + timedelta(days=30)
    low, high = sorted((first, second))
    there, back = since + (until - since) * low, since + (until - since) * high
    up = within(other, Worth(one, since, until), (since, until), there)
    assert up.due - up.credit == up.charged - up.unused
    assert min(up.due, up.credit) == 0
    down = within(one, Worth(up.charged, there, until), (since, until), back)
    paid = one + up.due - up.credit + down.due - down.credit
    fair = one + (other - one) * ((back - there) / (until - since))
    assert abs(paid - fair) <= 2 + max(one, other) * 1e-9
    at_once = within(one, Worth(up.charged, there, until), (since, until), there)
    assert abs(up.due - up.credit + at_once.due - at_once.credit) <= 1


@given(prices, prices, parts, moments)
def test_another_interval_begins_anew_for_the_whole_price_less_what_is_unused(one, other, part, since):
    until = since + timedelta(days=31)
    moment = since + (until - since) * part
    made = anew(other, Worth(one, since, until), moment)
    assert made.charged == other
    assert made.due - made.credit == other - Worth(one, since, until).unused(moment)


def test_nobody_is_asked_for_next_to_nothing_or_for_taking_less():
    assert fair(Change(149, 100), 50) == Change(100, 100)
    assert fair(Change(150, 100), 50) == Change(150, 100)
    assert fair(Change(100, 149), 50) == Change(100, 149), "what is given back is given back whole"
    assert fair(Change(500, 0), 50, is_less=True) == Change(0, 0)


def test_a_month_without_tax():
    assert monthly_net(1_190, 1, 1_900) == 1_000
    assert monthly_net(11_900, 12, 1_900) == 833
    assert monthly_net(599, 1, 0) == 599


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40), st.sampled_from("abp"), st.booleans()), max_size=8))
def test_rows_never_overlap_and_are_what_is_wanted_from_then_on(moves):
    begin, rows, clock = at("2027-01-01T00:00"), [], 0
    for number, (pause, length, plan, is_over) in enumerate(moves):
        clock += pause
        moment = begin + timedelta(days=clock)
        wanted = Stretch("active", plan, 1, 500, "EUR", moment, moment + timedelta(days=length), "payment")
        ahead = replace(wanted, plan="x", opened=moment + timedelta(days=length), closed=moment + timedelta(days=99))
        made = rewritten(
            rows, [] if is_over else [wanted, ahead] if plan == "p" and length else [wanted], moment, "paid"
        )
        gone, ended = {row.period_id for row in made.gone}, {row.period_id: row for row in made.ended}
        rows = [ended.get(row.period_id, row) for row in rows if row.period_id not in gone]
        rows += [replace(row, period_id=f"{number}-{place}") for place, row in enumerate(made.begun)]
        rows.sort(key=lambda row: row.opened)
        assert all(row.closed is not None and row.opened < row.closed for row in rows)
        assert all(a.closed is not None and a.closed <= b.opened for a, b in itertools.pairwise(rows)), rows
        now = [row for row in rows if row.opened <= moment < (row.closed or moment)]
        assert [row.plan for row in now] == ([] if is_over or not length else [plan])


ACTIVE = Stretch("active", "basic", 1, 500, "EUR", at("2027-01-01T00:00"), at("2027-02-03T00:00"), "payment", "p1")


def test_a_renewal_extends_what_runs_and_a_change_ends_it():
    on = replace(ACTIVE, opened=at("2027-02-01T01:00"), closed=at("2027-03-03T00:00"), period_id=None)
    made = rewritten([ACTIVE], [on], on.opened, "payment")
    assert (made.gone, made.begun) == ((), ())
    assert made.ended == (replace(ACTIVE, closed=on.closed),)
    assert rewritten([made.ended[0]], [on], on.opened, "payment").ended == (), "the second time there is nothing to do"
    dearer = replace(on, plan="premium")
    made = rewritten([ACTIVE], [dearer], on.opened, "plan_change")
    assert made.ended == (replace(ACTIVE, closed=on.opened, end_reason="plan_change"),)
    assert made.begun == (dearer,)


def test_what_was_to_come_goes_when_it_is_not_wanted_any_more():
    trial = replace(ACTIVE, state="trial", closed=at("2027-01-15T00:00"), end_reason="paid")
    ahead = replace(ACTIVE, opened=at("2027-01-15T00:00"), period_id="p2")
    now = at("2027-01-10T00:00")
    alone = replace(trial, opened=now, end_reason="cancelled", period_id=None)
    made = rewritten([trial, ahead], [alone], now, "cancelled")
    assert made.gone == (ahead,)
    assert made.ended == (replace(trial, end_reason="cancelled"),)
    made = rewritten([trial, ahead], [], now, "cancelled")
    assert (made.gone, made.ended) == ((ahead,), (replace(trial, closed=now, end_reason="cancelled"),))
