"""What Matinee writes to people, in their language: rows of the outbox become letters here.

`data` of each: `confirm` and `new_email` link; `reset` link; `email_changing` email; `taken`, `password_changed`,
`second_factor_on`, `second_factor_off`, `signed_in_tv` device; `erasing` nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from matinee.errors import MatineeError

_FALLBACK = "en"


class LetterError(MatineeError):
    """There is no such letter, or something that it tells is missing."""


@dataclass(frozen=True)
class Letter:
    subject: str
    text: str


# template -> language -> (subject, text)
_LETTERS: dict[str, dict[str, tuple[str, str]]] = {
    "confirm": {
        "en": (
            "Confirm your e-mail",
            "Welcome to Matinee.\n\nOpen this link to confirm that this address is yours (valid for 24 hours, once):\n"
            "{link}\n\nIf you did not register, do nothing.\n",
        ),
        "ru": (
            "Подтвердите адрес почты",
            "Добро пожаловать в Matinee.\n\nОткройте ссылку, чтобы подтвердить, что это ваш адрес (действует 24 часа, "
            "один раз):\n{link}\n\nЕсли вы не регистрировались, ничего не делайте.\n",
        ),
    },
    "new_email": {
        "en": (
            "Confirm your new e-mail",
            "Open this link to sign in to Matinee with this address from now on (valid for 24 hours, once):\n{link}\n\n"
            "If you did not ask for this, do nothing.\n",
        ),
        "ru": (
            "Подтвердите новый адрес почты",
            "Откройте ссылку, чтобы дальше входить в Matinee с этим адресом (действует 24 часа, один раз):\n{link}\n\n"
            "Если вы об этом не просили, ничего не делайте.\n",
        ),
    },
    "email_changing": {
        "en": (
            "Your e-mail is about to change",
            "Somebody who is signed in to your Matinee account asked to use {email} instead of this address.\n\n"
            "If it was not you, change your password now and end all sessions.\n",
        ),
        "ru": (
            "Адрес вашей почты меняется",
            "Из вашего аккаунта Matinee попросили заменить этот адрес на {email}.\n\n"
            "Если это не вы, смените пароль и завершите все сеансы.\n",
        ),
    },
    "reset": {
        "en": (
            "Choose a new password",
            "Open this link to choose a new password (valid for one hour, once). All your sessions end with it.\n"
            "{link}\n\nIf you did not ask for this, do nothing: your password stays as it is.\n",
        ),
        "ru": (
            "Выберите новый пароль",
            "Откройте ссылку, чтобы выбрать новый пароль (действует час, один раз). Все ваши сеансы при этом "
            "завершатся.\n{link}\n\nЕсли вы об этом не просили, ничего не делайте: пароль останется прежним.\n",
        ),
    },
    "password_changed": {
        "en": (
            "Your password was changed",
            "The password of your Matinee account was changed, and your other sessions were ended.\n\n"
            "If it was not you, choose a new one with “Forgot password”.\n",
        ),
        "ru": (
            "Пароль изменён",
            "Пароль вашего аккаунта Matinee изменён, остальные сеансы завершены.\n\n"
            "Если это не вы, задайте новый через «Забыли пароль».\n",
        ),
    },
    "second_factor_on": {
        "en": ("Second factor is on", "From now on, signing in to Matinee takes a code of your authenticator app.\n"),
        "ru": ("Второй фактор включён", "Теперь для входа в Matinee нужен код из приложения-аутентификатора.\n"),
    },
    "second_factor_off": {
        "en": (
            "Second factor is off",
            "Signing in to Matinee takes only your password again.\n\nIf it was not you, change your password now.\n",
        ),
        "ru": (
            "Второй фактор выключен",
            "Для входа в Matinee снова достаточно пароля.\n\nЕсли это не вы, сразу смените пароль.\n",
        ),
    },
    "signed_in_tv": {
        "en": (
            "A device was let in",
            "{device} is now signed in to your Matinee account.\n\nIf it was not you, end its session in your settings.\n",
        ),
        "ru": (
            "Вход на устройстве",
            "{device}: выполнен вход в ваш аккаунт Matinee.\n\nЕсли это не вы, завершите этот сеанс в настройках.\n",
        ),
    },
    "erasing": {
        "en": (
            "Your account is being erased",
            "Your Matinee account is closed, and everything about you is being erased. This is the last letter.\n",
        ),
        "ru": (
            "Ваш аккаунт удаляется",
            "Ваш аккаунт Matinee закрыт, все данные о вас удаляются. Это последнее письмо.\n",
        ),
    },
}


def compose(template: str, language: str, data: Mapping[str, Any]) -> Letter:
    """The letter in this language, in English where there is none in it.

    Raises:
        LetterError: there is no such template, or `data` lacks what it tells.
    """
    try:
        subject, text = _LETTERS[template].get(language) or _LETTERS[template][_FALLBACK]
        return Letter(subject, text.format_map({name: _plain(value) for name, value in data.items()}))
    except KeyError as error:
        raise LetterError(f"letter {template!r}: {error.args[0]!r} is not known") from None


def _plain(value: Any) -> str:
    """One line without control characters: what people choose can shape nothing around it."""
    return "".join(letter if letter.isprintable() else " " for letter in str(value))
