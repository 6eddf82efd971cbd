"""Releases of the agent: signing keys, signed manifests in the store, join credentials."""
