"""Machines that exist already, reached by ssh: what is put on them, and taken away again."""
