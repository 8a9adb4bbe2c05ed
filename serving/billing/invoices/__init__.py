"""Invoices and credit notes: what is owed, of which lines, and what became of it."""
