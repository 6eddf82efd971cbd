"""The agent on its host: joining, the service, releases, status."""
