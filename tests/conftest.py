"""What every test may use."""

pytest_plugins = [
    "plugin.not_run",
    "fixtures.agent_file",
    "fixtures.database",
    "fixtures.stack",
    "fixtures.web",
    "fixtures.runs",
    "fixtures.executions",
    "fixtures.store_servers",
    "fixtures.store_rigs",
]
