"""What every test may use."""

pytest_plugins = ["fixtures.database", "fixtures.web"]
