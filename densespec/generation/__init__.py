"""Stage ``generate``: writing queries for passages."""
