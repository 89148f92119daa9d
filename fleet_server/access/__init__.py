"""Who may do what where: accounts, roles, scopes, sessions, tokens, and the audit trail."""
