"""What money can refuse. Over HTTP it is `serving.problems.Problem`."""

from matinee.errors import MatineeError


class BillingError(MatineeError):
    """Something of money cannot be done; the message says what to do instead."""


class MoneyError(BillingError):
    """An amount that is none: malformed, negative, huge, or of another or an unknown currency."""


class LedgerError(BillingError):
    """A transaction that the ledger does not take."""


class AlreadyPostedError(LedgerError):
    """The fact (`kind`, `source`) is in the ledger: nothing is left to do."""


class InvoiceError(BillingError):
    """An invoice that cannot be issued, or is not in a state for what is asked of it."""


class BilledAlreadyError(InvoiceError):
    """This period of the subscription has an invoice."""


class VoidInvoiceError(InvoiceError):
    """The invoice was taken back: money for it becomes the customer's credit."""
