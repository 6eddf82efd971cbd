"""What an installation is asked for: one object a flavour, every key checked before anything is created."""
