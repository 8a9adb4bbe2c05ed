"""What Matinee writes to people about money: the texts, in their languages; `serving.letters` fills them in.

`data` of each: `receipt` number, what, amount; `refunded` number, amount; `payment_failed` (one may watch on) plan,
again, until; `payment_failed_shut` (one may not) plan, again; `subscription_ended` plan, why; `trial_ending` plan,
ends; `price_change` plan, was, becomes, from. Moments are ISO 8601 on the reader's clocks, names may be
`{language: name}`. The address of the screen that helps (`SCREENS`) is `link`.
"""

# template -> the screen of the page that its link opens
SCREENS = {
    "receipt": "billing",
    "refunded": "billing",
    "payment_failed": "billing",
    "payment_failed_shut": "billing",
    "subscription_ended": "plans",
    "trial_ending": "plans",
    "price_change": "billing",
}
# template -> language -> the subject in the first line, and the text
LETTERS: dict[str, dict[str, str]] = {
    "receipt": {
        "en": """
Your receipt

Thank you. {amount} was paid for: {what}.

Receipt {number} is here, to read or as PDF:
{link}
""",
        "ru": """
Ваша квитанция

Спасибо. Оплачено {amount}: {what}.

Квитанция {number}, на странице и в PDF:
{link}
""",
    },
    "refunded": {
        "en": """
Your money is on its way back

{amount} goes back to the card or wallet that it came from. How long that takes is up to its bank, usually a few days.

Credit note {number} is here, to read or as PDF:
{link}
""",
        "ru": """
Деньги возвращаются

{amount} вернутся туда, откуда были уплачены. Срок зависит от банка, обычно это несколько дней.

Кредит-нота {number}, на странице и в PDF:
{link}
""",
    },
    "payment_failed": {
        "en": """
The payment did not go through

Your {plan} plan could not be renewed: the payment was refused. You can go on watching.

We try again on {again}; after {until} the plan ends. Pay now, or with another card, here:
{link}
""",
        "ru": """
Платёж не прошёл

Подписку «{plan}» не удалось продлить: платёж отклонён. Смотреть пока можно.

Следующая попытка: {again}; после {until} подписка закончится. Оплатить сейчас или другой картой можно здесь:
{link}
""",
    },
    "payment_failed_shut": {
        "en": """
The payment did not go through

Your {plan} plan could not go on: the payment was refused. Its films open again as soon as it is paid.

We try again on {again}. Pay now, or with another card, here:
{link}
""",
        "ru": """
Платёж не прошёл

Подписку «{plan}» не удалось возобновить: платёж отклонён. Фильмы откроются, как только она будет оплачена.

Следующая попытка: {again}. Оплатить сейчас или другой картой можно здесь:
{link}
""",
    },
    "subscription_ended": {
        "en": """
Your plan has ended

Your {plan} plan has ended: {why}. Your profiles, lists and what you bought are kept.

To watch again, choose a plan here:
{link}
""",
        "ru": """
Подписка закончилась

Подписка «{plan}» закончилась: {why}. Профили, списки и покупки сохранены.

Чтобы смотреть снова, выберите подписку:
{link}
""",
    },
    "trial_ending": {
        "en": """
Your trial ends soon

Your {plan} trial ends on {ends}. Nothing is charged by itself.

To go on watching, choose a plan here; it begins when the trial ends:
{link}
""",
        "ru": """
Пробный период заканчивается

Пробный период «{plan}» заканчивается {ends}. Само ничего не спишется.

Чтобы смотреть дальше, выберите подписку; она начнётся, когда закончится пробный период:
{link}
""",
    },
    "price_change": {
        "en": """
The price of your plan changes

From {from} your {plan} plan costs {becomes} instead of {was}. What you have paid for already stays as it is.

If that is not right for you, change or cancel your plan before here:
{link}
""",
        "ru": """
Цена подписки изменится

С {from} подписка «{plan}» будет стоить {becomes} вместо {was}. Уже оплаченное не изменится.

Если это не подходит, сменить или отменить подписку можно здесь:
{link}
""",
    },
}
# Values that are codes -> language -> words.
WORDS: dict[str, dict[str, dict[str, str]]] = {
    "why": {
        "cancelled": {"en": "you cancelled it", "ru": "вы её отменили"},
        "payment": {"en": "its renewal was not paid for", "ru": "продление не оплачено"},
        "trial": {"en": "the trial is over", "ru": "пробный период завершён"},
        "refunded": {"en": "it was refunded", "ru": "деньги за неё возвращены"},
        "dispute_lost": {"en": "your bank took its payment back", "ru": "банк отозвал платёж"},
    },
}
