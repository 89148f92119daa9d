"""Drivers: one room per kind of device, loaded on demand, knowing nothing of each other. See `promise`."""
