"""One attempt, from its job document to its end."""
