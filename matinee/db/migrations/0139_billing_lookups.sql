-- What people type is looked up among withdrawn codes too, and who of the staff asked for refunds when they are erased.
CREATE INDEX promo_key_any ON promo (key);
CREATE INDEX refund_asked_by ON refund (asked_by) WHERE asked_by IS NOT NULL;
