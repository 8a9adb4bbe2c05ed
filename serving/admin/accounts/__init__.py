"""Admins and the accounts of others: find, change roles, shut out, and the audit log."""
