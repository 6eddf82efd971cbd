"""Measured figures of a control plane on this machine: `make bench`."""
