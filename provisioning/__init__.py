"""The PKI and the technician's tools: certificates, claim codes, EST, broker configuration."""
