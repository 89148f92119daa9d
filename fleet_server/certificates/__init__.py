"""The console's certificate: two files that somebody brings, or one that a public CA issues and renews (ACME, RFC 8555)."""
