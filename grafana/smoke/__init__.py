"""Does a real Grafana show the boards and raise the alarm? `make grafana-smoke` asks it."""
