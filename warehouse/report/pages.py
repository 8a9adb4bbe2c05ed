"""What the report shows: its pages, their charts and filters, as data."""

from collections.abc import Sequence
from dataclasses import dataclass

from warehouse.report.charts import MONTH, Drawing, bars, curve, heat, intervals, lines, ranking, shares, stacked
from warehouse.report.words import Words

HOURS = Words("hours", "часы")
PLAYS = Words("plays", "просмотры")


@dataclass(frozen=True)
class Filter:
    """A choice on a page: rows with another value in `field` are left out. `one`: something is always chosen."""

    field: str
    words: Words
    one: bool = False


@dataclass(frozen=True)
class Chart:
    """A drawing of the rows of a query, shown where the snapshot has all of `tables`."""

    name: str
    title: Words
    note: Words
    tables: tuple[str, ...]
    drawing: Drawing

    @property
    def query(self) -> str:
        return self.name


@dataclass(frozen=True)
class Page:
    """`days`: the page offers a range of days."""

    name: str
    title: Words
    charts: Sequence[Chart]
    filters: tuple[Filter, ...] = ()
    days: bool = False

    @property
    def file(self) -> str:
        return f"{self.name}.html"


DEVICE = Filter("device", Words("device", "устройство"))
COUNTRY = Filter("country", Words("country", "страна"))
TITLE = Filter("title_id", Words("title", "название"), one=True)
CURRENCY = Filter("currency", Words("currency", "валюта"), one=True)

_STARTUP = {
    "1": Words("to 0.5 s", "до 0,5 с"),
    "2": Words("0.5 to 1 s", "0,5–1 с"),
    "3": Words("1 to 2 s", "1–2 с"),
    "4": Words("2 to 4 s", "2–4 с"),
    "5": Words("4 to 8 s", "4–8 с"),
    "6": Words("over 8 s", "более 8 с"),
}
_MOVEMENTS = {
    "new": Words("new", "новые"),
    "reactivation": Words("came back", "вернулись"),
    "expansion": Words("expansion", "расширение"),
    "contraction": Words("contraction", "сокращение"),
    "churn": Words("churn", "отток"),
}
_REVENUE = {
    "subscription": Words("subscriptions", "подписки"),
    "rental": Words("rentals", "прокат"),
    "purchase": Words("purchases", "покупки"),
    "discount": Words("discounts", "скидки"),
}
_RECEIPTS = {
    "first": Words("first receipts", "впервые"),
    "repeats": Words("repeated", "повторы"),
    "conflicts": Words("same id, other content", "тот же id, другое содержимое"),
}

PAGES = (
    Page(
        "index",
        Words("Overview", "Обзор"),
        (
            Chart(
                "active_days",
                Words("Active viewers", "Активные зрители"),
                Words(
                    "Profiles with a play of 30 seconds: on the day, in the last 7 and in the last 28 days.",
                    "Профили с просмотром от 30 секунд: за день, за последние 7 и за последние 28 дней.",
                ),
                ("mart_active_day",),
                lines(
                    (
                        ("dau", Words("day", "день")),
                        ("wau", Words("7 days", "7 дней")),
                        ("mau", Words("28 days", "28 дней")),
                    ),
                    Words("viewers", "зрители"),
                ),
            ),
            Chart(
                "hours_by_day",
                Words("Hours viewed", "Часы просмотра"),
                Words("By the day on which a play began, UTC.", "По дню начала просмотра, UTC."),
                ("fct_playback_session",),
                stacked("hours", HOURS, "device"),
            ),
            Chart(
                "top_items",
                Words("Most viewed in the last week", "Самое популярное за неделю"),
                Words(
                    "Views: hours viewed divided by the length of the film, or of the whole series.",
                    "Просмотры: часы просмотра, делённые на длину фильма или всего сериала.",
                ),
                ("mart_item_week", "dim_title"),
                ranking("views", Words("views", "просмотры")),
            ),
        ),
        days=True,
    ),
    Page(
        "viewing",
        Words("Viewing", "Просмотры"),
        (
            Chart(
                "sessions_by_day",
                Words("Visits", "Посещения"),
                Words(
                    "A visit ends after 30 minutes without an event.", "Посещение кончается после 30 минут без событий."
                ),
                ("fct_session",),
                stacked("sessions", Words("visits", "посещения"), "device"),
            ),
            Chart(
                "week_hours",
                Words("When people watch", "Когда смотрят"),
                Words(
                    "Plays by hour and weekday, UTC (1 is Monday).",
                    "Просмотры по часам и дням недели, UTC (1 — понедельник).",
                ),
                ("fct_playback_session",),
                heat(
                    ("hour", Words("hour", "час")), ("weekday", Words("weekday", "день недели")), "plays", None, PLAYS
                ),
            ),
            Chart(
                "engagement",
                Words("Who starts, watches and finishes", "Кто начинает, смотрит и досматривает"),
                Words(
                    "Households within 28 days of the release: two minutes, 70 % and 90 % of the title.",
                    "Домохозяйства за 28 дней после выхода: две минуты, 70 % и 90 % длины.",
                ),
                ("mart_title_engagement", "dim_title"),
                ranking(
                    "starters",
                    Words("households", "домохозяйства"),
                    parts={
                        "starters": Words("started", "начали"),
                        "watchers": Words("watched", "посмотрели"),
                        "completers": Words("finished", "досмотрели"),
                    },
                ),
            ),
            Chart(
                "retention",
                Words("How far people get", "Докуда досматривают"),
                Words(
                    "Share of plays that reached this minute of the chosen title.",
                    "Доля просмотров, дошедших до этой минуты выбранного названия.",
                ),
                ("mart_title_retention", "dim_title"),
                curve(("minute", Words("minute", "минута")), ("share", Words("share of plays", "доля просмотров"))),
            ),
        ),
        (DEVICE, COUNTRY, TITLE),
        days=True,
    ),
    Page(
        "quality",
        Words("Quality", "Качество"),
        (
            Chart(
                "startup",
                Words("Startup time", "Время старта"),
                Words(
                    "From pressing play to the first frame (CTA-2066), as shares of the starts.",
                    "От нажатия до первого кадра (CTA-2066), доли стартов.",
                ),
                ("mart_qoe_hour",),
                stacked("starts", Words("starts", "старты"), "bucket", _STARTUP, normalised=True),
            ),
            Chart(
                "qoe",
                Words("Time stalled", "Время в ожидании"),
                Words(
                    "Stalls as a share of the time watched, startup included (CTA-2066).",
                    "Доля остановок во времени просмотра, включая старт (CTA-2066).",
                ),
                ("mart_qoe_hour",),
                shares(
                    "stall_ms", "watch_ms", Words("stalled", "ожидание"), by="device", by_words=DEVICE.words, form=".2%"
                ),
            ),
            Chart(
                "bitrate",
                Words("Average bitrate", "Средний битрейт"),
                Words("Bits played divided by the time played, kbit/s.", "Биты, делённые на время показа, кбит/с."),
                ("mart_qoe_hour",),
                shares("bits", "played_ms", Words("kbit/s", "кбит/с"), by="device", by_words=DEVICE.words, form=",.0f"),
            ),
            Chart(
                "failures",
                Words("Plays that failed", "Неудачные просмотры"),
                Words("With a fatal error, as a share of the attempts.", "С фатальной ошибкой, доля попыток."),
                ("mart_qoe_hour",),
                shares("failures", "attempts", Words("failed", "с ошибкой"), form=".2%", bars=True),
            ),
            Chart(
                "exits",
                Words("Left before the start", "Ушли до старта"),
                Words(
                    "Attempts that ended before the first frame without an error.",
                    "Попытки, закончившиеся до первого кадра без ошибки.",
                ),
                ("mart_qoe_hour",),
                shares("exits_before_start", "attempts", Words("left", "ушли"), form=".2%", bars=True),
            ),
        ),
        (DEVICE, COUNTRY),
        days=True,
    ),
    Page(
        "subscribers",
        Words("Subscribers", "Подписчики"),
        (
            Chart(
                "mrr_movements",
                Words("Movements of MRR", "Движение MRR"),
                Words(
                    "Monthly recurring revenue, taxes out; yearly plans count a twelfth.",
                    "Месячная регулярная выручка без налогов; годовые планы — двенадцатая часть.",
                ),
                ("fct_mrr_movement",),
                stacked("amount", Words("a month", "в месяц"), "kind", _MOVEMENTS, when="month", words=MONTH),
            ),
            Chart(
                "mrr",
                Words("MRR at the month's end", "MRR на конец месяца"),
                Words("In the chosen currency.", "В выбранной валюте."),
                ("mart_mrr_month",),
                lines((("mrr", Words("MRR", "MRR")),), Words("a month", "в месяц"), when="month", words=MONTH),
            ),
            Chart(
                "churn",
                Words("Churn", "Отток"),
                Words(
                    "Of the subscribers at the previous month's end; net of those who came back within 12 months.",
                    "От подписчиков на конец прошлого месяца; чистый — без вернувшихся за 12 месяцев.",
                ),
                ("mart_churn_month",),
                lines(
                    (("gross", Words("gross, %", "валовый, %")), ("net", Words("net, %", "чистый, %"))),
                    Words("% of subscribers", "% подписчиков"),
                    when="month",
                    words=MONTH,
                ),
            ),
            Chart(
                "cohorts",
                Words("Cohorts", "Когорты"),
                Words(
                    "Share of a month's new subscribers who pay n months later.",
                    "Доля новых подписчиков месяца, которые платят через n месяцев.",
                ),
                ("mart_cohort_retention",),
                heat(
                    ("month_n", Words("months later", "месяцев спустя")),
                    ("cohort", Words("first month", "первый месяц")),
                    "paying",
                    "accounts",
                    Words("paying", "платят"),
                    form=".0%",
                ),
            ),
            Chart(
                "funnel",
                Words("From sign-up to the first play", "От регистрации до первого просмотра"),
                Words(
                    "Each step counts those who took all steps before it.",
                    "Каждый шаг — те, кто прошёл все предыдущие.",
                ),
                ("mart_funnel_day",),
                bars(
                    ("series", Words("step", "шаг")),
                    {
                        "accounts": Words("signed up", "регистрация"),
                        "visited": Words("visited", "посещение"),
                        "trial": Words("trial", "пробный период"),
                        "paid": Words("paid", "оплата"),
                        "played": Words("played", "просмотр"),
                    },
                    Words("accounts", "аккаунты"),
                ),
            ),
            Chart(
                "costs",
                Words("Cost of a thousand hours", "Стоимость тысячи часов"),
                Words(
                    "Licence cost of all months shown, by thousand hours viewed; dearest first.",
                    "Стоимость лицензий за показанные месяцы на тысячу часов; сначала дорогие.",
                ),
                ("mart_content_cost", "dim_title"),
                ranking("cost_per_thousand_hours", Words("for 1,000 hours", "за 1000 часов")),
            ),
        ),
        (COUNTRY, CURRENCY),
        days=False,
    ),
    Page(
        "money",
        Words("Money", "Деньги"),
        (
            Chart(
                "revenue",
                Words("Revenue, booked and earned", "Выручка: начисленная и заработанная"),
                Words(
                    "Without tax. Booked with the invoice, earned day by day of its period; also in months to come.",
                    "Без налогов. Начислена со счётом, заработана по дням его периода; и в будущих месяцах.",
                ),
                ("mart_revenue_month",),
                lines(
                    (
                        ("booked", Words("booked", "начислено")),
                        ("recognised", Words("earned", "заработано")),
                    ),
                    Words("a month", "в месяц"),
                    when="month",
                    words=MONTH,
                ),
            ),
            Chart(
                "revenue_by_ledger",
                Words("What earns", "Что приносит выручку"),
                Words(
                    "Revenue earned at list prices, and what promo codes took off.",
                    "Заработано по ценам прайс-листа, и что сняли промокоды.",
                ),
                ("mart_revenue_month",),
                stacked("revenue", Words("a month", "в месяц"), "ledger", _REVENUE, when="month", words=MONTH),
            ),
            Chart(
                "unit_economics",
                Words("A subscriber's revenue and lifetime value", "Выручка с подписчика и ценность за всё время"),
                Words(
                    "ARPU: earned in the month by average subscribers. LTV: ARPU × margin / churn, 60 months at most.",
                    "ARPU: заработано за месяц на среднего подписчика. LTV: ARPU × маржа / отток, не более 60 месяцев.",
                ),
                ("mart_arpu_month",),
                lines(
                    (("arpu", Words("ARPU", "ARPU")), ("ltv", Words("predicted LTV", "прогноз LTV"))),
                    Words("a subscriber", "на подписчика"),
                    when="month",
                    words=MONTH,
                ),
            ),
            Chart(
                "ltv_cohorts",
                Words("Lifetime value to date", "Ценность клиента на сегодня"),
                Words(
                    "Net revenue per customer of a month's cohort, n months later.",
                    "Чистая выручка на клиента когорты через n месяцев.",
                ),
                ("mart_ltv_cohort",),
                heat(
                    ("month_n", Words("months later", "месяцев спустя")),
                    ("cohort", Words("first month", "первый месяц")),
                    "to_date",
                    "customers",
                    Words("a customer", "на клиента"),
                    form=",.2f",
                ),
            ),
            Chart(
                "given_back",
                Words("Refunds and disputes", "Возвраты и оспаривания"),
                Words("As a share of what was paid in the same month.", "Доля от оплаченного в том же месяце."),
                ("mart_payment_month",),
                shares(
                    "given_back",
                    "paid",
                    Words("of payments", "от платежей"),
                    when="month",
                    words=MONTH,
                    form=".2%",
                    bars=True,
                ),
            ),
            Chart(
                "fees",
                Words("What payments cost", "Сколько стоят платежи"),
                Words(
                    "Fees of providers and lost disputes, as a share of what was paid.",
                    "Комиссии провайдеров и проигранные споры, доля от оплаченного.",
                ),
                ("mart_payment_month",),
                shares(
                    "cost",
                    "paid",
                    Words("of payments", "от платежей"),
                    by="provider",
                    by_words=Words("provider", "провайдер"),
                    when="month",
                    words=MONTH,
                    form=".2%",
                ),
            ),
            Chart(
                "taxes",
                Words("Value added tax", "Налог на добавленную стоимость"),
                Words("Owed for the month, by country.", "К уплате за месяц, по странам."),
                ("mart_tax_month",),
                stacked("tax", Words("a month", "в месяц"), "country", when="month", words=MONTH),
            ),
            Chart(
                "promo_cost",
                Words("What promo codes cost", "Сколько стоят промокоды"),
                Words("Taken off list prices, without tax.", "Снято с цен прайс-листа, без налогов."),
                ("mart_promo_month",),
                stacked("discount", Words("a month", "в месяц"), "promo", when="month", words=MONTH),
            ),
        ),
        (COUNTRY, CURRENCY),
        days=False,
    ),
    Page(
        "experiments",
        Words("Experiments", "Эксперименты"),
        (
            Chart(
                "experiments",
                Words("Differences", "Различия"),
                Words(
                    "Treatment against control as a share of control, with the 95 % interval.",
                    "Вариант против контроля в долях контроля, с интервалом 95 %.",
                ),
                ("mart_experiment_result",),
                intervals("label", "relative", "relative_low", "relative_high", Words("difference", "разница")),
            ),
        ),
    ),
    Page(
        "data",
        Words("Data", "Данные"),
        (
            Chart(
                "intake",
                Words("Events received", "Полученные события"),
                Words(
                    "By the day of receipt. Repeated and altered receipts count once in every mart.",
                    "По дню получения. Повторные и изменённые получения учтены в витринах один раз.",
                ),
                ("mart_intake_day",),
                stacked("receipts", Words("receipts", "получения"), "kind", _RECEIPTS),
            ),
            Chart(
                "late",
                Words("Late events", "Опоздавшие события"),
                Words("Received more than an hour after they happened.", "Получены более чем через час."),
                ("mart_intake_day",),
                shares("late", "events", Words("late", "опоздали"), bars=True),
            ),
        ),
        days=True,
    ),
)
