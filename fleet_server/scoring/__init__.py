"""The score of a station: five criteria, exact tables, every unclear case decided by a named ruling."""
