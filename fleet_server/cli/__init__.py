"""The commands of `fleet`. Each loads what it needs when it runs, so that `fleet --help` answers at once."""
