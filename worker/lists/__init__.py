"""What reads Stripe's lists: backfills, histories, gaps."""
