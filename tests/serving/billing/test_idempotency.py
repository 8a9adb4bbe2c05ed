"""One request, one effect, one answer (draft-ietf-httpapi-idempotency-key-header-07)."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from matinee.clock import ManualClock
from matinee.settings import Settings
from serving.billing import customers, idempotency
from serving.billing.idempotency import LEASE, Answer, Asked, Claim, key_of, once
from serving.billing.payments.desk import Desk, desk
from serving.problems import Problem

ASKED = Asked("ada", "POST /api/billing/checkout", "key", b'{"price_id": "basic-month-eur"}')


@pytest.fixture
async def till(settings: Settings, clock: ManualClock, books: psycopg.Connection[Any]) -> AsyncIterator[Desk]:
    for name in ("ada", "bob"):
        books.execute("INSERT INTO account (account_id) VALUES (%s)", (name,))
    async with desk(settings, clock, size=8) as made:
        yield made


class Effects:
    """Work that makes a customer (its effect), as often as it is called."""

    def __init__(self, till: Desk) -> None:
        self.till, self.made, self.seen = till, 0, []

    async def __call__(self, claim: Claim) -> Answer:
        self.seen.append(claim.subject)
        if claim.subject is None:
            async with self.till.transaction() as connection:
                await customers.of_account(connection, claim.asked.account_id, self.till.clock.now())
                await claim.made(connection, f"invoice-{self.made}")
                self.made += 1
        await asyncio.sleep(0.05)
        return Answer(201, f"answer {len(self.seen)}".encode())


@pytest.mark.parametrize(
    ("header", "key"),
    [
        ('"8e03978e-40d5"', "8e03978e-40d5"),
        ("8e03978e-40d5", "8e03978e-40d5"),
        (' "a b" ', "a b"),
        ("x" * 255, "x" * 255),
    ],
)
def test_a_key_is_a_structured_string_or_bare(header: str, key: str) -> None:
    assert key_of(header) == key


@pytest.mark.parametrize("header", [None, "", '""', "ключ", "x" * 256, '"a', "a b", '"a\\"b"', "a\x00b"])
def test_what_is_no_key_is_refused(header: str | None) -> None:
    with pytest.raises(Problem) as refused:
        key_of(header)
    expected = "idempotency_key_missing" if header is None else "idempotency_key_invalid"
    assert (refused.value.status, refused.value.code) == (400, expected)


async def test_a_hundred_at_once_have_one_effect_and_one_answer(till: Desk) -> None:
    work = Effects(till)
    answers = await asyncio.gather(*(once(till, ASKED, work) for _ in range(100)))
    assert set(answers) == {Answer(201, b"answer 1")}
    assert work.seen == [None]


async def test_a_key_is_of_an_account_and_a_route_and_of_one_body(till: Desk) -> None:
    work = Effects(till)
    await once(till, ASKED, work)
    with pytest.raises(Problem) as refused:
        await once(till, Asked(ASKED.account_id, ASKED.route, ASKED.key, ASKED.body + b" "), work)
    assert (refused.value.status, refused.value.code) == (422, "idempotency_key_reused")
    await once(till, Asked("bob", ASKED.route, ASKED.key, b"other"), work)
    await once(till, Asked(ASKED.account_id, "POST /api/billing/purchase", ASKED.key, b"other"), work)
    assert work.made == 3


async def test_a_request_under_way_is_told_so(till: Desk) -> None:
    begun, enough = asyncio.Event(), asyncio.Event()

    async def slow(_: Claim) -> Answer:
        begun.set()
        await enough.wait()
        return Answer(200, b"done")

    first = asyncio.create_task(once(till, ASKED, slow))
    await begun.wait()
    with pytest.raises(Problem) as refused:
        await once(till, ASKED, slow, patience_s=0.05)
    assert (refused.value.status, refused.value.code) == (409, "in_flight")
    enough.set()
    assert await first == await once(till, ASKED, slow)


async def test_who_died_leaves_the_key_with_what_was_made(till: Desk, clock: ManualClock) -> None:
    work = Effects(till)

    async def dies(claim: Claim) -> Answer:
        await work(claim)
        raise asyncio.CancelledError  # nothing of ours runs after a kill; here the lease is let go instead

    with pytest.raises(asyncio.CancelledError):
        await once(till, ASKED, dies)
    assert await once(till, ASKED, work) == Answer(201, b"answer 2")
    assert work.seen == [None, "invoice-0"]
    assert work.made == 1
    clock.advance(timedelta(hours=23))
    assert await once(till, ASKED, work) == Answer(201, b"answer 2")
    clock.advance(timedelta(hours=2))
    await once(till, ASKED, work)
    assert work.made == 2


async def test_who_lost_the_key_writes_nothing(till: Desk, clock: ManualClock, books: psycopg.Connection[Any]) -> None:
    """One process hangs beyond its lease; the retry takes over, and what the first one made is rolled back."""
    work, begun, woken = Effects(till), asyncio.Event(), asyncio.Event()

    async def hangs(claim: Claim) -> Answer:
        begun.set()
        await woken.wait()
        return await work(claim)

    slow = asyncio.create_task(once(till, ASKED, hangs))
    await begun.wait()
    clock.advance(LEASE)
    assert await once(till, ASKED, work) == Answer(201, b"answer 1")
    woken.set()
    with pytest.raises(Problem, match="is being worked on"):
        await slow
    assert work.made == 1
    assert books.execute("SELECT status, subject FROM idempotency").fetchall() == [(201, "invoice-0")]


async def test_refusals_are_answers_and_outages_are_not(till: Desk) -> None:
    told: list[Problem] = [Problem(422, "promo_exhausted", "no"), Problem(503, "provider_unavailable", "later")]

    async def refuses(_: Claim) -> Answer:
        raise told[-1]

    with pytest.raises(Problem, match="later"):
        await once(till, ASKED, refuses)
    told.pop()
    first = await once(till, ASKED, refuses)
    told.pop()
    assert first == await once(till, ASKED, refuses)
    assert first.status == 422
    assert b"promo_exhausted" in first.body
    assert first.response().media_type == "application/problem+json"


async def test_answers_are_forgotten_after_a_day(till: Desk, clock: ManualClock) -> None:
    await once(till, ASKED, Effects(till))
    for hours, gone in ((23, 0), (2, 1)):
        clock.advance(timedelta(hours=hours))
        async with till.transaction() as connection:
            assert await idempotency.prune(connection, clock.now()) == gone
