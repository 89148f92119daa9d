"""Grafana boards, alert rules and data sources as code."""
