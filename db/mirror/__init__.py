"""The mirror's schema, stripe: what Stripe says."""
