"""The words of invoices, receipts and credit notes."""

WORDS: dict[str, dict[str, str]] = {
    "en": {
        "invoice": "Invoice", "receipt": "Receipt", "credit": "Credit note",
        "number": "Number", "issued": "Date", "credits": "For", "paid_at": "Paid on", "paid_by": "Paid by",
        "tax_id": "Tax number", "item": "Item", "amount": "Amount", "total": "Total", "tax": "of which VAT {rate}",
        "from_balance": "From your balance", "due": "To pay", "paid": "Paid", "given_back": "Given back since",
        "plan": "Plan", "unused": "What was not used of the plan before", "rent": "Rental", "buy": "Purchase",
        "discount": "Discount", "refund": "Refund", "foot": "Thank you for watching. {seller}",
    },
    "ru": {
        "invoice": "Счёт", "receipt": "Квитанция", "credit": "Кредит-нота",
        "number": "Номер", "issued": "Дата", "credits": "К документу", "paid_at": "Оплачено",
        "paid_by": "Способ оплаты",
        "tax_id": "ИНН", "item": "Наименование", "amount": "Сумма", "total": "Итого", "tax": "в том числе НДС {rate}",
        "from_balance": "С вашего баланса", "due": "К оплате", "paid": "Оплачено", "given_back": "Возвращено позже",
        "plan": "Подписка", "unused": "Неиспользованная часть прежней подписки", "rent": "Аренда", "buy": "Покупка",
        "discount": "Скидка", "refund": "Возврат", "foot": "Спасибо, что смотрите с нами. {seller}",
    },
}  # fmt: skip
