"""The books against themselves and against the provider: what was broken on purpose is found and named."""

from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from matinee.clock import ManualClock
from matinee.settings import Settings
from serving.billing.errors import AlreadyPostedError, LedgerError
from serving.billing.invoices import core as invoices
from serving.billing.invoices.lines import Draft, Line
from serving.billing.ledger import core as ledger
from serving.billing.ledger.core import Posting, Transaction
from serving.billing.ledger.money import Money
from serving.billing.payments import core as payments
from serving.billing.payments.desk import Desk, desk
from serving.billing.payments.rows import Payment
from serving.billing.providers.base import Movement
from serving.billing.providers.sandbox.cards import BY_NAME
from serving.billing.providers.sandbox.core import Sandbox
from serving.billing.reconcile import compare
from serving.billing.reconcile.compare import Booked, Difference
from serving.billing.reconcile.core import Reconciled, reconcile, remedy
from serving.billing.reconcile.verify import CHECKS, Verified, verify

AT = datetime(2026, 3, 10, tzinfo=UTC)
LATER = AT + timedelta(days=1)


# -- pure --------------------------------------------------------------------------------------------------------------


def moved(kind: str, minor: int, name: str = "p", at: datetime = AT) -> Movement:
    about = {"refund_id": name} if kind == "refund" else {} if kind in ("payout", "other") else {"payment_id": name}
    ref = name if kind in ("payout", "other") else f"{kind} {name} {minor}"
    return Movement(ref, cast(Any, kind), Money(minor, "EUR"), at, **about)


def fact(kind: str, minor: int, name: str = "p", at: datetime = AT, payment_id: str | None = None) -> Booked:
    return Booked(kind, name, at, "EUR", minor, payment_id)


@pytest.mark.parametrize(
    ("facts", "movements", "wrong"),
    [
        ([fact("payment", 900)], [moved("payment", 900)], []),
        ([fact("payment", 900)], [moved("payment", 800)], [("payment", 900, 800, "other amount")]),
        ([], [moved("refund", -900, "r")], [("refund", None, -900, "missing here")]),
        ([fact("payout", -5, "o")], [], [("payout", -5, None, "missing there")]),
        ([fact("fee", -30)], [moved("fee", -25), moved("fee", -5)], []),  # in two parts
        ([], [moved("refund", -9, "r"), moved("refund", 9, "r")], []),  # it failed, and came back
        ([fact("payment", 9), fact("payment", 9)], [moved("payment", 9)], [("payment", 9, None, "missing there")]),
        ([fact("payment", 9)], [moved("payment", 9, at=AT - timedelta(days=3))], []),  # heard of late
        ([], [moved("payment", 9, at=AT - timedelta(days=3))], []),  # not of this time
        ([], [moved("other", 7, "x")], [("other", None, 7, "missing here")]),
        # A dispute that was lost: the amount when it was opened, the fee when it was closed.
        (
            [fact("dispute", -900, "d", payment_id="p"), fact("dispute_lost", -1500, "d", payment_id="p")],
            [moved("dispute", -900), moved("fee", -1500)],
            [],
        ),
    ],
)
def test_what_both_tell_agrees(facts: list[Booked], movements: list[Movement], wrong: list[Any]) -> None:
    found = compare.differences(compare.here(facts), compare.there(movements), AT, LATER)
    assert [(each.kind, each.here, each.there, each.wrong) for each in found] == wrong


def test_a_refund_that_failed_after_it_was_made_is_named() -> None:
    told = [moved("refund", -900, "r"), moved("refund", 900, "r")]
    (found,) = compare.differences(compare.here([fact("refund", -900, "r")]), compare.there(told), AT, LATER)
    assert found == Difference("refund", "r", "EUR", None, 900)
    assert "failed there after all" in remedy(found)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 3)), max_size=8), st.data())
def test_order_is_no_matter_and_one_more_is_seen(told: list[tuple[str, int]], data: st.DataObject) -> None:
    facts = [fact("payment", minor, name) for name, minor in told]
    movements = [moved("payment", minor, name) for name, minor in data.draw(st.permutations(told))]
    assert compare.differences(compare.here(facts), compare.there(movements), AT, LATER) == []
    extra = compare.there([*movements, moved("payment", 5, "a")])
    assert compare.differences(compare.here(facts), extra, AT, LATER) == [Difference("payment", "a", "EUR", None, 5)]


# -- a week of business ------------------------------------------------------------------------------------------------


@pytest.fixture
async def office(settings: Settings, clock: ManualClock) -> AsyncIterator[Desk]:
    with psycopg.connect(settings.database()) as connection:
        connection.execute("INSERT INTO title (title_id, kind, maturity) VALUES ('otters', 'film', 0)")
    async with desk(settings, clock) as made:
        yield made


async def buy(office: Desk, customer_id: str, amount: int, *, settled: bool = True) -> Payment:
    """Rent something and pay on the sandbox's page; `settled`: we heard of it."""
    at = office.clock.now()
    draft = Draft("rent", "purchase", "EUR", [Line("rent", amount, title_id="otters")], "DE", 1900, title_id="otters")
    async with office.transaction() as connection:
        invoice = await invoices.issue(connection, customer_id, draft, at)
    begun = await payments.begin(office, invoice, return_url="http://matinee.test/back", save_method=False, at=at)
    await bank(office).submit(begun.provider_ref or "", BY_NAME["good"])
    return await payments.settle(office, begun.payment_id, at) if settled else begun


def bank(office: Desk) -> Sandbox:
    return cast(Sandbox, office.provider("sandbox"))


async def checked(office: Desk) -> Verified:
    async with office.transaction() as connection:
        return await verify(connection)


async def balance(office: Desk, name: str) -> int:
    async with office.transaction() as connection:
        return await ledger.balance(connection, name, "sandbox", "EUR")


async def compared(office: Desk, since: datetime | None = None, *, booking: bool = True) -> Reconciled:
    return await reconcile(office, "sandbox", since, booking=booking)


async def test_a_week_of_business_agrees_to_the_cent(
    office: Desk, customer: Callable[..., str], clock: ManualClock
) -> None:
    ann, ben = customer(), customer()
    paid = [await buy(office, ann, 500), await buy(office, ben, 999), await buy(office, ben, 1999)]
    clock.advance(timedelta(hours=30))
    await payments.refund(office, paid[0].payment_id, 200, "late", clock.now(), asked_by=None)
    won, lost = [await bank(office).dispute(each.provider_ref or "") for each in paid[1:]]
    for each in paid[1:]:
        await payments.settle(office, each.payment_id, clock.now())
    assert await balance(office, "disputed") == 999 + 1999
    await bank(office).close_dispute(won or "", won=True)
    await bank(office).close_dispute(lost or "", won=False)
    unheard = await buy(office, ann, 700, settled=False)
    clock.advance(timedelta(hours=30))

    looked = await compared(office, booking=False)
    assert {(each.kind, each.id, each.wrong) for each in looked.differences} == {
        ("payment", unheard.payment_id, "missing here"), ("fee", unheard.payment_id, "missing here"),
        ("dispute", paid[1].payment_id, "missing here"), ("fee", paid[2].payment_id, "missing here"),
        ("payout", "payout_2026-03-10_eur", "missing here"), ("payout", "payout_2026-03-11_eur", "missing here"),
    }  # fmt: skip
    assert all(remedy(each) for each in looked.differences)

    made = await compared(office)
    assert (made.differences, made.asked, {each.kind for each in made.booked}) == ((), 3, {"payout"})
    fees = await balance(office, "fee")
    assert fees == sum(round(amount * 0.029) for amount in (500, 999, 1999, 700))
    assert await balance(office, "bank") == 500 + 999 + 700 - 200 - fees - 1500
    assert made.balances["EUR"] == (await balance(office, "clearing"),) * 2 == (0, 0)
    assert await balance(office, "loss") == 1999 + 1500
    found = await checked(office)
    assert (found.findings, found.sums) == ((), {"EUR": 0})
    again = await compared(office)
    assert (again.booked, again.asked, again.agrees) == ((), 0, True)


async def test_a_payment_heard_of_weeks_late_is_no_difference(
    office: Desk, customer: Callable[..., str], clock: ManualClock
) -> None:
    late = await buy(office, customer(), 500, settled=False)
    clock.advance(timedelta(days=40))
    await payments.settle(office, late.payment_id, clock.now())
    clock.advance(timedelta(hours=1))
    for since in (clock.now() - timedelta(days=1), None):
        made = await compared(office, since)
        assert (made.differences, made.asked) == ((), 0)
    assert made.balances["EUR"] == (await balance(office, "clearing"),) * 2


async def test_what_somebody_did_past_us_is_named(
    office: Desk, customer: Callable[..., str], clock: ManualClock, settings: Settings
) -> None:
    ann = customer()
    kept, lost = await buy(office, ann, 500), await buy(office, ann, 800)
    with psycopg.connect(settings.database(), autocommit=True) as connection:
        connection.execute("DELETE FROM sandbox.payment WHERE payment_id = %s", (lost.payment_id,))
        connection.execute("UPDATE sandbox.payment SET amount_minor = 450 WHERE payment_id = %s", (kept.payment_id,))
        connection.execute(
            "INSERT INTO sandbox.payment (ref, payment_id, customer_id, state, amount_minor, currency, description, "
            "language, created_at, expires_at, settled_at) VALUES ('x', 'x', 'y', 'succeeded', 60, 'EUR', '', 'en', "
            "%(at)s, %(at)s, %(at)s)", {"at": clock.now()},
        )  # fmt: skip
    clock.advance(timedelta(hours=1))
    made = await compared(office, clock.now() - timedelta(days=2))
    assert [(each.kind, each.id, each.wrong, each.here, each.there) for each in made.differences] == sorted(
        [
            ("payment", kept.payment_id, "other amount", 500, 450),
            ("payment", lost.payment_id, "missing there", 800, None),
            ("fee", lost.payment_id, "missing there", -23, None),
            ("payment", "x", "missing here", None, 60),
        ]
    )
    assert (await checked(office)).findings == ()  # our own books are right: it is the provider who tells otherwise
    for source, debit, credit, minor in [
        ("x", "clearing", "loss", 60),
        (kept.payment_id, "loss", "clearing", 50),
        (lost.payment_id, "loss", "clearing", 800),
    ]:
        postings = (Posting(debit, "sandbox", "EUR", minor), Posting(credit, "sandbox", "EUR", -minor))
        async with office.transaction() as connection:
            await ledger.correct(connection, Transaction("correction", source, clock.now(), postings))
    made = await compared(office, clock.now() - timedelta(days=2))
    assert [(each.kind, each.here) for each in made.differences] == [("fee", -23)]  # corrected by another amount


class Keeps(Sandbox):
    """A provider that takes its fee when a dispute is opened, and keeps it whoever wins; and one for its services."""

    later: Sequence[tuple[str, str | None]] = ()

    async def listed(self, since: datetime, until: datetime) -> AsyncIterator[Movement]:
        async for each in super().listed(since, until):
            yield each
            if each.kind == "dispute" and each.money.minor < 0:
                yield Movement("kept", "fee", Money(-1500, "EUR"), each.at, each.payment_id)
                yield Movement("monthly", "fee", Money(-700, "EUR"), each.at)
                for name, payment_id in self.later:
                    yield Movement(name, "fee", Money(-1500, "EUR"), each.at, payment_id)


async def test_fees_that_only_the_provider_knows_are_booked(
    office: Desk, customer: Callable[..., str], clock: ManualClock, settings: Settings
) -> None:
    paid = await buy(office, customer(), 5000)
    ref = await bank(office).dispute(paid.provider_ref or "")
    await payments.settle(office, paid.payment_id, clock.now())
    clock.advance(timedelta(hours=1))
    async with desk(settings, clock) as keeping:
        keeping._providers["sandbox"] = provider = Keeps(settings, clock)
        made = await compared(keeping)
        assert ([each.source for each in made.booked], made.differences) == (["monthly"], ())
        assert await balance(office, "fee") == 145 + 700  # what an open dispute costs is booked with its end
        await bank(office).close_dispute(ref or "", won=True)
        made = await compared(keeping)
        assert ([each.postings[0].amount_minor for each in made.booked], made.differences) == ([1500], ())
        assert (await compared(keeping)).booked == ()
        # A second fee of one dispute is for people; it holds up no other.
        provider.later = [("twice", paid.payment_id), ("yearly", None)]
        for booked in (["yearly"], []):
            made = await compared(keeping)
            assert [each.source for each in made.booked] == booked
            assert [(each.kind, each.id, each.lacking) for each in made.differences] == [
                ("fee", paid.payment_id, -1500)
            ]
    assert await balance(office, "fee") == 145 + 700 + 2 * 1500
    assert (await checked(office)).findings == ()


# -- a ledger that somebody broke --------------------------------------------------------------------------------------

PAID = "(SELECT invoice_id FROM payment WHERE payment_id = %(payment)s)"
# What a superuser may do with the guards off -> what is said of it.
BROKEN = {
    "UPDATE posting SET amount_minor = amount_minor + 1 WHERE ledger = 'clearing' AND amount_minor = 500":
        {"unbalanced", "movements"},
    "DELETE FROM posting WHERE transaction_id IN (SELECT transaction_id FROM ledger_transaction WHERE kind = 'fee')":
        {"empty", "movements"},
    f"UPDATE invoice_line SET amount_minor = 400 WHERE invoice_id = {PAID}": {"lines"},
    f"UPDATE invoice SET total_minor = 600 WHERE invoice_id = {PAID}": {"lines", "charges", "paid"},
    f"UPDATE invoice SET credited_minor = 100 WHERE invoice_id = {PAID}": {"credited"},
    f"UPDATE invoice SET state = 'open', paid_at = NULL WHERE invoice_id = {PAID}": {"unpaid"},
    "UPDATE payment SET state = 'failed' WHERE payment_id = %(payment)s": {"paid", "movements", "refunds"},
    "UPDATE payment SET fee_minor = 77 WHERE payment_id = %(payment)s": {"movements"},
    "UPDATE payment SET provider = 'stripe' WHERE payment_id = %(payment)s": {"movements"},
    "UPDATE refund SET note_id = NULL": {"notes"},
    """WITH refused AS (
        INSERT INTO refund (refund_id, payment_id, state, amount_minor, currency, reason, created_at, settled_at)
        SELECT n::text, %(payment)s, 'failed', 1, 'EUR', 'surplus', now(), now() FROM generate_series(1, 3) n)
    UPDATE payment SET surplus = true WHERE payment_id = %(payment)s""": {"surplus", "paid"},
    "UPDATE refund SET amount_minor = 501": {"notes", "movements", "refunds"},
    "DELETE FROM refund": {"movements"},
    "DELETE FROM posting WHERE transaction_id IN (SELECT transaction_id FROM ledger_transaction WHERE kind = 'credit')":
        {"empty", "charges", "owed"},
    "UPDATE dispute SET state = 'lost', closed_at = now()": {"movements", "disputed"},
    "INSERT INTO ledger_transaction (kind, source, occurred_at) VALUES ('charge', 'x', now())": {"empty"},
}  # fmt: skip


async def test_a_ledger_that_was_broken_past_its_guards_is_found_out(
    office: Desk, customer: Callable[..., str], clock: ManualClock, settings: Settings
) -> None:
    ann = customer()
    paid, disputed = await buy(office, ann, 500), await buy(office, ann, 900)
    await payments.refund(office, paid.payment_id, 200, "late", clock.now(), asked_by=None)
    await bank(office).dispute(disputed.provider_ref or "")
    await payments.settle(office, disputed.payment_id, clock.now())
    assert (await checked(office)).whole
    found = {}
    async with await psycopg.AsyncConnection.connect(settings.database()) as connection:
        await connection.set_isolation_level(psycopg.IsolationLevel.REPEATABLE_READ)
        for statement in BROKEN:
            await connection.execute("SET LOCAL session_replication_role = replica")
            await connection.execute(statement.encode(), {"payment": paid.payment_id})
            looked = await verify(connection)
            found[statement] = {each.check for each in looked.findings}
            assert all(each.id and each.detail and each.what and each.remedy for each in looked.findings)
            await connection.rollback()
        await connection.execute("ALTER TABLE posting DISABLE TRIGGER posting_balances")
        await connection.execute("DROP TRIGGER ledger_keeps ON posting")
        off = sorted((each.check, each.id, each.detail) for each in (await verify(connection)).findings)
        await connection.rollback()
    assert off == [
        ("guards", "ledger_keeps on posting", "missing"),
        ("guards", "posting_balances on posting", "switched off"),
    ]
    assert found == BROKEN
    assert set.union(*BROKEN.values()) | {"guards"} == set(CHECKS)


async def test_a_correction_is_written_once_and_by_the_rules(office: Desk) -> None:
    def correction(*postings: tuple[str, str, int]) -> Transaction:
        return Transaction(
            "correction", "x", AT, tuple(Posting(name, of, "EUR", minor) for name, of, minor in postings)
        )

    right = correction(("loss", "stripe", 5), ("clearing", "stripe", -5))
    async with office.transaction() as connection:
        with pytest.raises(LedgerError, match=r"refuses it: .*party Stripe does not fit"):
            await ledger.correct(connection, correction(("loss", "Stripe", 5), ("clearing", "stripe", -5)))
        with pytest.raises(LedgerError, match=r"refuses it: .*piggy"):
            await ledger.correct(connection, correction(("piggy", "stripe", 5), ("clearing", "stripe", -5)))
        await ledger.correct(connection, right)
        with pytest.raises(AlreadyPostedError):
            await ledger.correct(connection, right)
    async with office.transaction() as connection:
        assert await ledger.balance(connection, "loss", "stripe", "EUR") == 5
