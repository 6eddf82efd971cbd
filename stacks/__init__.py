"""What is built: one module a flavour."""
