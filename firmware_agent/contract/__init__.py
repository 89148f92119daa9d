"""The wire between node and server: topics, messages, ids. The only part of the agent that others import."""
