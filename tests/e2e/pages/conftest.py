"""A browser on a seeded dashboard of its own; no stack is started."""

from fixtures.pages import axe, chromium, shown, tabs  # noqa: F401
