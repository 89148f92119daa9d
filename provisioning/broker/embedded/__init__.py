"""The embedded broker: amqtt routes, our own gate decides who may say and hear what (docs/adr/0002-embedded-broker-gate.md).

packets    MQTT 3.1.1 packets as far as the gate must read them (pure)
rules      who may say and hear what (pure)
identity   who a TLS client is, by its certificate
gate       listens, admits, and stands between each client and the router for as long as it is connected
router     amqtt, fed by the gate
adapter    starts and stops all this as a process of its own
"""
