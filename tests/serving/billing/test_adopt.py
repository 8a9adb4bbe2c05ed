"""What the simulator says that viewers had, as books that hold together, however often it is written."""

from datetime import UTC, date, datetime, timedelta

from psycopg.types.range import Range

from matinee.db.connect import connect
from matinee.db.subscriptions import Period, add_periods
from matinee.db.viewers import Viewer, add_viewers
from serving.billing.adopt import Held, TaxRate, adopt, plan, transactions
from serving.billing.reconcile.verify import verify

JANUARY = datetime(2026, 1, 1, 10, tzinfo=UTC)
DAY = timedelta(days=1)
INVOICES = "FROM invoice i JOIN invoice_line l USING (invoice_id) JOIN customer USING (customer_id) WHERE true"


def period(account, number, state, minor, since, until, *, currency="EUR", reason="cancelled", plan="basic"):
    opened, closed = JANUARY + since * DAY, None if until is None else JANUARY + until * DAY
    name = f"{account}-s-{number}"
    end = None if closed is None else reason
    return Period(name, f"{account}-s", account, plan, state, minor, currency, opened, closed, end)


PERIODS = [
    period("sim-1", 0, "trial", 749, -14, 0, reason="paid"),
    period("sim-1", 1, "active", 749, 0, 60, reason="payment"),
    period("sim-1", 2, "past_due", 749, 60, 65, reason="payment"),
    period("sim-1", 3, "active", 749, 65, None),
    period("sim-2", 0, "active", 749 * 10 // 12, 0, None),
    period("sim-3", 0, "active", 29_900, 5, 35, currency="RUB", plan="standard"),
    period("real-1", 0, "active", 749, 0, None),
]


def test_what_was_paid_is_booked_once_and_what_comes_later_is_added(settings):
    people = [
        ("sim-1", "simulate", "DE"),
        ("sim-2", "simulate", "FR"),
        ("sim-3", "import", "RU"),
        ("real-1", "live", "DE"),
    ]
    with connect(settings) as connection:
        add_viewers(connection, [Viewer(name, name, origin, country) for name, origin, country in people])
        add_periods(connection, PERIODS)
        made = adopt(connection, JANUARY + 62 * DAY)
        assert (made.customers, made.invoices) == (3, 5)
        again = adopt(connection, JANUARY + 62 * DAY)
        assert (again.customers, again.invoices, again.facts) == (0, 0, 0)
        state = f"SELECT reason, state {INVOICES} AND account_id = 'sim-1' ORDER BY issued_at"
        paid = [("start", "paid"), ("renewal", "paid")]
        assert connection.execute(state).fetchall() == [*paid, ("renewal", "open")]
        later = adopt(connection, JANUARY + 66 * DAY)
        assert (later.customers, later.invoices, later.facts) == (0, 1, 4), (
            "a void, and an invoice with its payment and fee"
        )
        assert connection.execute(state).fetchall() == [*paid, ("renewal", "void"), ("renewal", "paid")]
        net = "months, l.amount_minor - l.tax_minor, tax_country, state"
        rows = connection.execute(f"SELECT {net} {INVOICES} AND account_id <> 'sim-1' ORDER BY account_id").fetchall()
        assert rows == [(12, 624 * 12, "FR", "paid"), (1, 29_900, "RU", "paid")]
        names = "SELECT count(*) FROM invoice i, customer c WHERE (i::text || c.customer_id) LIKE '%sim-%'"
        assert connection.execute(names).fetchone() == (0,), "what stays when an account is erased leads nowhere"


async def test_the_books_hold_together(settings, connection):
    with connect(settings) as writing:
        add_viewers(writing, [Viewer(f"sim-{n}", "x", "simulate", "DE") for n in range(300)])
        add_periods(writing, [period(f"sim-{n}", 0, "active", 749, n % 50, None) for n in range(300)])
        adopt(writing, JANUARY + 90 * DAY)
    looked = await verify(connection)
    assert looked.whole, looked.findings
    assert looked.facts > 1_000


def test_a_bill_is_the_price_with_its_tax_and_its_facts_sum_to_zero():
    rate = TaxRate("DE", 1900, Range(date(2021, 1, 1), None))
    held = Held("c", "basic", {"en": "Basic"}, "active", 1_001, "EUR", "DE", JANUARY, JANUARY + 30 * DAY)
    (bill,) = plan([held], [rate], JANUARY + 99 * DAY)
    assert (bill.invoice.total_minor, bill.invoice.tax_minor) == (1_191, 190)
    kinds = {fact.kind: sum(posting.amount_minor for posting in fact.postings) for fact in transactions(bill)}
    assert kinds == {"charge": 0, "payment": 0, "fee": 0}
    assert list(plan([held], [rate], JANUARY - DAY)) == []
