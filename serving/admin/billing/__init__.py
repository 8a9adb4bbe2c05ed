"""Running the money: payments and refunds, disputes, promo codes, the books of a customer."""
