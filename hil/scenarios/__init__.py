"""Worlds of real processes, and what is done to them: killed, cut off, restored, woken in the wrong century."""
