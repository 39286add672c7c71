"""The parent: forks the agent and the children, reaps what dies, and knows every process group by construction. It
never talks to Redis, and never runs a task."""
