"""What runs on a worker machine: agent, start-up units and the wire protocol. Ships alone."""
