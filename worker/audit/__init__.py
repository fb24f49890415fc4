"""The audit: it compares the mirror and the records with Stripe, and repairs them."""
