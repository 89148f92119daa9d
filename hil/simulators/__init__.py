"""Simulated devices on loopback: cameras, Modbus lamps and sensors, GPIO lines. Each has faults that can be switched while it runs."""
