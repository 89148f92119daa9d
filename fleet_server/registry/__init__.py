"""Units, zones, positions, nodes, and what was installed where and when."""
