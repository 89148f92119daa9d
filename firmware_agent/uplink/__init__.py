"""The way to the server: MQTT 3.1.1 over mutual TLS, live lane and replay lane."""
