"""Hardware in the loop: simulators, faults, swarm, scenarios and the demo zone."""
