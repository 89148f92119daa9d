"""amqtt as a router of messages between clients that the gate has admitted.

amqtt 0.12 is asked for nothing that the wall depends on: it sees a CONNECT that the gate wrote, packets that the gate has checked,
and what it sends is checked again. Here are the few places where its behaviour had to be bounded; each names what was seen.
"""

import asyncio
import logging
from collections.abc import Iterator
from typing import Any, Final, TypeVar

from amqtt.adapters import ReaderAdapter, WriterAdapter
from amqtt.broker import Broker
from amqtt.contexts import BrokerConfig, ListenerConfig, ListenerType
from amqtt.plugins.base import BaseAuthPlugin
from amqtt.session import ApplicationMessage, Session

_LISTENER: Final = "default"
_BUSY: Final = 200
"""Messages under way inside the router above which nodes are not read from; each has at most the size of a packet."""
_BUSY_WITH_ONE: Final = 20
"""The same for messages of one node."""
_AT_ONCE: Final = 200
"""Kept messages sent together; amqtt gives up on each that is not acknowledged within 5 s."""
_MAX_QUEUED_BYTES: Final = 32 * 1024 * 1024
"""Payload kept for one persistent session whose client is away."""

_log = logging.getLogger(__name__)

K = TypeVar("K")
V = TypeVar("V")


class AdmittedByGate(BaseAuthPlugin):
    """The gate has authenticated everybody who gets here; amqtt wants a plug-in to say so."""

    async def authenticate(self, *, session: Session) -> bool:
        """Say yes."""
        return True


class Router:
    """Carries messages from publishers to subscribers. Nothing outlives the process."""

    def __init__(self, *, max_queued_messages: int) -> None:
        """`max_queued_messages`: for one persistent session whose client is away."""
        plugin = f"{AdmittedByGate.__module__}.{AdmittedByGate.__qualname__}"
        config = BrokerConfig(listeners={_LISTENER: ListenerConfig(type=ListenerType.EXTERNAL)}, plugins={plugin: {}})
        self._broker = _BoundedBroker(config, max_queued_messages=max_queued_messages)

    async def start(self) -> None:
        """Be ready for `serve`."""
        await self._broker.start()

    async def serve(self, name: str, reader: ReaderAdapter, writer: WriterAdapter) -> None:
        """Serve one admitted client until it is gone. At most one at a time for each `name`: the gate sees to it.

        Seen: at a take-over of a clean session amqtt leaves the old connection publishing; of a persistent one it marks the new
        connection as gone.
        """
        await self._broker.forget_if_clean(name)
        await self._broker.external_connected(reader, writer, _LISTENER)

    def is_busy(self, name: str) -> bool:
        """Whether messages of this client, or of all, pile up because subscribers are slow. amqtt itself reads on without end."""
        session, _ = self._broker.sessions.get(name, (None, None))
        own = session.delivered_message_queue.qsize() if session is not None else 0
        return own > _BUSY_WITH_ONE or self._broker._broadcast_queue.qsize() + len(self._broker._tasks_queue) > _BUSY

    def has_passed_on(self, name: str) -> bool:
        """Whether what a client sent has been passed on.

        Seen: at the end of a connection amqtt drops what it has acknowledged but not yet routed.
        """
        session, _ = self._broker.sessions.get(name, (None, None))
        return session is None or session.delivered_message_queue.empty()


class _BoundedBroker(Broker):
    """amqtt's broker with bounds on memory, and safe to change while it works."""

    def __init__(self, config: BrokerConfig, *, max_queued_messages: int) -> None:
        super().__init__(config)
        self._max_queued = max_queued_messages
        # Seen: it awaits while it goes through these, and a subscription made meanwhile ended the delivery of a message in a RuntimeError.
        self._subscriptions = _Steady()
        self._retained_messages = _Steady()

    async def forget_if_clean(self, name: str) -> None:
        """Seen: a clean session lives on for up to a second, and a persistent one that comes meanwhile takes it for its own."""
        session, _ = self.sessions.get(name, (None, None))
        if session is not None and session.clean_session:
            await self._delete_session(name)

    async def _handle_client_session(self, reader: ReaderAdapter, writer: WriterAdapter, client_session: Session, *rest: Any) -> None:
        if not isinstance(client_session.retained_messages, _Bounded):
            client_session.retained_messages = _Bounded(self._max_queued, client_session.client_id or "")
        await super()._handle_client_session(reader, writer, client_session, *rest)

    async def _publish_retained_messages_for_subscription(self, subscription: tuple[str, int], session: Session) -> None:
        """Seen: called for the subscriptions of *all* clients when one connects."""
        if any(holder is session for holder, _ in self._subscriptions.get(subscription[0], ())):
            await super()._publish_retained_messages_for_subscription(subscription, session)

    async def _publish_session_retained_messages(self, session: Session) -> None:
        """Send what was kept while a client was away. Seen: with the retain flag, which says that it is old news."""
        handler = self._get_handler(session)
        if handler is None:
            return
        while not session.retained_messages.empty():
            some = [session.retained_messages.get_nowait() for _ in range(min(_AT_ONCE, session.retained_messages.qsize()))]
            sending = (handler.mqtt_publish(m.topic, m.data, m.qos, retain=False) for m in some)
            results = await asyncio.gather(*sending, return_exceptions=True)
            if any(isinstance(result, BaseException) for result in results):
                _log.warning("%s did not acknowledge all that was kept for it", session.client_id)


class _Steady(dict[K, V]):
    """A dictionary that may change while somebody goes through it."""

    def __iter__(self) -> Iterator[K]:
        return iter(list(super().__iter__()))

    def items(self) -> Any:
        return list(super().items())


class _Bounded(asyncio.Queue[ApplicationMessage]):
    """A queue that drops its oldest messages when it is full, and says so."""

    def __init__(self, size: int, name: str) -> None:
        super().__init__()
        self._most = size
        self._name = name
        self._bytes = 0

    async def put(self, item: ApplicationMessage) -> None:
        self.put_nowait(item)
        self._bytes += len(item.data)
        while self.qsize() > self._most or self._bytes > _MAX_QUEUED_BYTES:
            self.get_nowait()
            _log.warning("The queue for %s, who is away, is full: its oldest messages are dropped", self._name)

    def get_nowait(self) -> ApplicationMessage:
        item = super().get_nowait()
        self._bytes -= len(item.data)
        return item
