"""Camera: an RTSP probe every few seconds, and now and then a look at the video itself, in a process of its own."""

from firmware_agent.drivers.camera.driver import Camera, create

__all__ = ["Camera", "create"]
