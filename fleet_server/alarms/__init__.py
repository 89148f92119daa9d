"""Presses of panic buttons: each raised once, shown to its unit, answered by somebody."""
