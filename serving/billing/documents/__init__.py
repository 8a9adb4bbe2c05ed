"""What people get on paper: invoices, receipts and credit notes, and what a cash register is told of them."""
