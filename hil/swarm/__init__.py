"""Many simulated nodes in one process, speaking the real contract over mutual TLS; enrolled and registered as real ones are."""
