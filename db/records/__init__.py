"""The records' schema, billing: what it means."""
