"""The control plane's own chores: rows of the database, carried by RQ, run by the process `chores`."""
