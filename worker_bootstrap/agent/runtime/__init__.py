"""What runs an attempt's container: the interface (base) and the Docker engine behind it (docker)."""
