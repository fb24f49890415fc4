"""What proves that the mirror and the records say what Stripe says."""
