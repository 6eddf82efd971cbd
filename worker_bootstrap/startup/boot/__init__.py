"""What runs on a new machine until its service does. Nothing is installed yet: the standard library only."""
