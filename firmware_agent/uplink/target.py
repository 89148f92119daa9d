"""Where to connect, from configuration and identity."""

import logging

from firmware_agent.config import Config
from firmware_agent.identity.model import Identity
from firmware_agent.uplink.link import Server

_log = logging.getLogger(__name__)


def server_of(config: Config, identity: Identity) -> Server:
    """Return where and how to connect."""
    if config.server.insecure_no_tls:
        _log.warning("insecure: server.insecure_no_tls speaks plain MQTT without certificates; use it on test benches only")
        return Server(config.server.mqtt_host, config.server.mqtt_port, config.server.keepalive_s)
    return Server(
        config.server.mqtt_host,
        config.server.mqtt_port,
        config.server.keepalive_s,
        ca_file=config.ca_file,
        cert_file=identity.cert_file,
        key_file=identity.key_file,
    )
