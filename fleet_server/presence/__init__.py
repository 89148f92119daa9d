"""Live state: what the newest evidence says of each position now, and which layer is broken when it says nothing."""
