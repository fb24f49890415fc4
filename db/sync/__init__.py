"""The machinery's schema: the inbox, marks and leases, scans, audits, what the worker knows."""
