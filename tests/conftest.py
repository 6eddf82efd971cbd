"""What every test may use."""

from hypothesis import HealthCheck, settings

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

# How long an example takes says how busy the machine is, nothing of the code.
settings.register_profile("remora", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("remora")
