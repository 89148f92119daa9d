"""Grafana as code: boards, data source and alert rules. `python -m grafana.build` writes what is committed here."""
