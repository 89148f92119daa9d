"""Time series for Grafana: derived from the journal, never a source of truth."""
