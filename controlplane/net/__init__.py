"""One vetted way out for every address that a user can name."""
