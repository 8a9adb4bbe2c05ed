"""Money: what is sold, to whom, by which payments, and the ledger of it all."""
