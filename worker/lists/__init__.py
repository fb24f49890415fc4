"""Everything that reads Stripe's lists: backfills, histories, test clocks, entitlements, gaps."""
