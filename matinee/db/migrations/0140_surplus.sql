-- Money for which nothing was to be bought, and whose refund was refused: it is tried again, so there are few of them.
CREATE INDEX payment_kept ON payment (created_at) WHERE surplus AND refunded_minor < amount_minor;
