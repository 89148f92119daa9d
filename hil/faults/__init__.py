"""Faults that can be switched on while everything runs."""
