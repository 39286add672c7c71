"""The agent: the one process of a worker that talks to Redis. It takes orders, hands attempts to children, watches
what they use, and reports their ends. It never runs a task."""
