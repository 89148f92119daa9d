"""The pages people see: rendered on the server, alive by one feed, Thai first."""
