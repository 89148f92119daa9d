"""The MQTT broker between nodes and server: what it must promise, Mosquitto's configuration, and an embedded one."""
