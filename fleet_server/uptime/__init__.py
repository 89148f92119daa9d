"""Uptime: hour by hour, how long each position was in which state, as far as the evidence proves it."""
