"""Who this node is: its key, made here and never leaving, and its certificate from enrolment over EST (RFC 7030)."""
