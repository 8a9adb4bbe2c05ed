"""What Matinee writes to people, in their language: rows of the outbox become letters here.

`data` of each: `confirm` and `new_email` link; `reset` link; `email_changing` email; `taken`, `password_changed`,
`second_factor_on`, `second_factor_off`, `signed_in_tv` device; `erasing` nothing. Letters about money are in
`serving.billing.documents.letters`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from matinee.errors import MatineeError
from matinee.settings import Settings
from serving.billing.documents.letters import LETTERS, SCREENS, WORDS
from serving.links import link

_FALLBACK = "en"
_DAYS = frozenset({"again", "until", "ends", "from"})


class LetterError(MatineeError):
    """There is no such letter, or something that it tells is missing."""


@dataclass(frozen=True)
class Letter:
    subject: str
    text: str


# template -> language -> the subject in the first line, and the text
_LETTERS: dict[str, dict[str, str]] = {
    "confirm": {
        "en": """
Confirm your e-mail

Welcome to Matinee.

Open this link to confirm that this address is yours (valid for 24 hours, once):
{link}

If you did not register, do nothing.
""",
        "ru": """
Подтвердите адрес почты

Добро пожаловать в Matinee.

Откройте ссылку, чтобы подтвердить, что это ваш адрес (действует 24 часа, один раз):
{link}

Если вы не регистрировались, ничего не делайте.
""",
    },
    "new_email": {
        "en": """
Confirm your new e-mail

Open this link to sign in to Matinee with this address from now on (valid for 24 hours, once):
{link}

If you did not ask for this, do nothing.
""",
        "ru": """
Подтвердите новый адрес почты

Откройте ссылку, чтобы дальше входить в Matinee с этим адресом (действует 24 часа, один раз):
{link}

Если вы об этом не просили, ничего не делайте.
""",
    },
    "email_changing": {
        "en": """
Your e-mail is about to change

Somebody who is signed in to your Matinee account asked to use {email} instead of this address.

If it was not you, change your password now and end all sessions.
""",
        "ru": """
Адрес вашей почты меняется

Из вашего аккаунта Matinee попросили заменить этот адрес на {email}.

Если это не вы, смените пароль и завершите все сеансы.
""",
    },
    "reset": {
        "en": """
Choose a new password

Open this link to choose a new password (valid for one hour, once). All your sessions end with it.
{link}

If you did not ask for this, do nothing: your password stays as it is.
""",
        "ru": """
Выберите новый пароль

Откройте ссылку, чтобы выбрать новый пароль (действует час, один раз). Все ваши сеансы при этом завершатся.
{link}

Если вы об этом не просили, ничего не делайте: пароль останется прежним.
""",
    },
    "password_changed": {
        "en": """
Your password was changed

The password of your Matinee account was changed, and your other sessions were ended.

If it was not you, choose a new one with “Forgot password”.
""",
        "ru": """
Пароль изменён

Пароль вашего аккаунта Matinee изменён, остальные сеансы завершены.

Если это не вы, задайте новый через «Забыли пароль».
""",
    },
    "second_factor_on": {
        "en": """
Second factor is on

From now on, signing in to Matinee takes a code of your authenticator app.
""",
        "ru": """
Второй фактор включён

Теперь для входа в Matinee нужен код из приложения-аутентификатора.
""",
    },
    "second_factor_off": {
        "en": """
Second factor is off

Signing in to Matinee takes only your password again.

If it was not you, change your password now.
""",
        "ru": """
Второй фактор выключен

Для входа в Matinee снова достаточно пароля.

Если это не вы, сразу смените пароль.
""",
    },
    "signed_in_tv": {
        "en": """
A device was let in

{device} is now signed in to your Matinee account.

If it was not you, end its session in your settings.
""",
        "ru": """
Вход на устройстве

{device}: выполнен вход в ваш аккаунт Matinee.

Если это не вы, завершите этот сеанс в настройках.
""",
    },
    "erasing": {
        "en": """
Your account is being erased

Your Matinee account is closed, and everything about you is being erased. This is the last letter.
""",
        "ru": """
Ваш аккаунт удаляется

Ваш аккаунт Matinee закрыт, все данные о вас удаляются. Это последнее письмо.
""",
    },
    **LETTERS,
}


def compose(template: str, language: str, data: Mapping[str, Any]) -> Letter:
    """The letter in this language, in English where there is none in it.

    Raises:
        LetterError: there is no such template, or `data` lacks what it tells.
    """
    try:
        language = language if language in _LETTERS[template] else _FALLBACK
        subject, _, text = _LETTERS[template][language].strip().partition("\n\n")
        return Letter(subject, text.format_map({n: _plain(_said(n, v, language)) for n, v in data.items()}) + "\n")
    except KeyError as error:
        raise LetterError(f"letter {template!r}: {error.args[0]!r} is not known") from None


def screen(settings: Settings, template: str) -> dict[str, str]:
    """The address of the screen that a letter speaks of, as its `link`, where it has one."""
    return {"link": link(settings, SCREENS[template])} if template in SCREENS else {}


def _said(name: str, value: Any, language: str) -> str:
    """A value in words of the language: codes, moments (as days), names in several languages."""
    if isinstance(value, Mapping):
        return value.get(language) or next(iter(value.values()), "")
    if name in WORDS:
        return WORDS[name][value][language]
    if name in _DAYS:
        from babel.dates import format_date

        return format_date(datetime.fromisoformat(value), "long", locale=language)
    return value


def _plain(value: Any) -> str:
    """One line without control characters: what people choose can shape nothing around it."""
    return "".join(letter if letter.isprintable() else " " for letter in str(value))
