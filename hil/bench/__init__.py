"""How fast it all is: the figures that docs/benchmarks.md explains, measured on this machine with real processes."""
