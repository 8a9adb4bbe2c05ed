"""Security events as log lines (ASVS 5.0, 16.3): who got in, who did not, who was denied what; each by account id.

What is changed stands in the audit log (`matinee.db.audit`), whose rows are a chain; this is the plain log, so that an
attack that fills it costs no writes in PostgreSQL.
"""

import logging

log = logging.getLogger("matinee.security")


def tell(event: str, account_id: str | None = None, **fields: str) -> None:
    """Log an event, for example `signed_in`. No e-mail or address in `fields`: nobody could take them back."""
    log.info(event, extra={"fields": {"account_id": account_id, **fields} if account_id else fields})
