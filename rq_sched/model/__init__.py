"""What things are: tasks, nodes, resources, labels, arrays, orders, settings. Values only: nothing here does IO,
knows a key of Redis, or asks for the time."""
