"""What every test may use."""

pytest_plugins = ["plugin.not_run", "fixtures.database", "fixtures.stack", "fixtures.web", "fixtures.executions"]
