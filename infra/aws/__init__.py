"""Parts of an installation in AWS. Each is a component whose outputs are attributes; nothing knows a flavour."""
