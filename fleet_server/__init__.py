"""The fleet server: provisioning, evidence, uptime, alarms and the console."""
