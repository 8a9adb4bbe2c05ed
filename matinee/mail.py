"""Mail to people: by SMTP where a server is given, into a maildir of the home where none is."""

import mailbox
import smtplib
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid
from urllib.parse import unquote, urlsplit

from matinee.clock import Clock, SystemClock
from matinee.errors import MatineeError
from matinee.settings import Settings

_TIMEOUT_S = 20
_CLOSING = 421  # the server goes away, whatever was said to it (RFC 5321 3.8)


class MailError(MatineeError):
    """A mail server does not take a message.

    `of_letter`: it answers, and refuses this letter; others may pass. `permanent`: it will never take this one (SMTP
    answers 5xx, RFC 5321 4.2.1).
    """

    of_letter = permanent = False


def send(settings: Settings, to: str, subject: str, text: str, *, clock: Clock | None = None) -> None:
    """Send plain text to one address. When this returns, a server or the maildir has it.

    Raises:
        MailError: the server of `MATINEE_SMTP_URL` cannot be reached or refuses.
    """
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = settings.mail_from, to, " ".join(subject.split())
    message["Date"] = format_datetime((clock or SystemClock()).now())
    message["Message-ID"] = make_msgid(domain=settings.mail_from.rpartition("@")[2])
    message.set_content(text)
    if settings.smtp_url is None:
        mailbox.Maildir(settings.home.mail).add(message)
        return
    try:
        _by_smtp(settings.smtp_url, message)
    except (OSError, smtplib.SMTPException) as error:
        host = urlsplit(settings.smtp_url).hostname
        refusal = MailError(f"{host} did not take mail to {to}: {error}; see MATINEE_SMTP_URL")
        codes = _codes(error)
        refusal.of_letter = bool(codes) and _CLOSING not in codes
        refusal.permanent = refusal.of_letter and min(codes) >= 500
        raise refusal from None


def _codes(error: Exception) -> list[int]:
    """What the server answered to the letter itself; empty where it did not get so far (away, a wrong password)."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return [code for code, _ in error.recipients.values()]
    if isinstance(error, smtplib.SMTPSenderRefused | smtplib.SMTPDataError):
        return [error.smtp_code]
    return [error.code] if isinstance(error, _AddressError) else []


class _AddressError(smtplib.SMTPException):
    """The server takes no address beyond ASCII: what a server says that knows SMTPUTF8 (RFC 6531 3.5)."""

    code = 553


def _by_smtp(url: str, message: EmailMessage) -> None:
    parts = urlsplit(url)
    secure = parts.scheme == "smtps"
    connect = smtplib.SMTP_SSL if secure else smtplib.SMTP
    with connect(parts.hostname or "", parts.port or (465 if secure else 25), timeout=_TIMEOUT_S) as server:
        if not secure and server.has_extn("starttls"):
            server.starttls()
        if parts.username:
            server.login(unquote(parts.username), unquote(parts.password or ""))
        try:
            server.send_message(message)
        except smtplib.SMTPNotSupportedError as error:  # also an error of signing in, which is not of the letter
            raise _AddressError(str(error)) from None
