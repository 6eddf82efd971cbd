"""Everything on one machine: state folder, Redis, supervisor, first run."""
