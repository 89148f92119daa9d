"""The demo zone: one example station on one machine, with real agents on simulated devices."""
