"""Who did what: the append-only record."""
