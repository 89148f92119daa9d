"""What can be done to a running demo zone, by name: pressed, broken, cut, restored."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from hil.demo.errors import DemoFailed


@dataclass(frozen=True, slots=True)
class Act:
    """One thing that can be done. `is_active` says that its effect lasts now."""

    name: str
    target: str
    label_th: str
    label_en: str
    do: Callable[[], Awaitable[None]]
    is_active: Callable[[], bool] = lambda: False


class Acts:
    """All acts of a demo, by name and target."""

    def __init__(self, acts: list[Act]) -> None:
        """Names with the same target are unique."""
        self.all: Final = tuple(acts)
        self._by_key = {(act.name, act.target): act for act in acts}
        self._first = {act.name: act for act in reversed(acts)}

    async def do(self, name: str, target: str = "") -> Act:
        """Do one; without a target, the first of that name.

        Raises:
            DemoFailed: there is none; the message lists what there is.
        """
        act = self._by_key.get((name, target)) or (None if target else self._first.get(name))
        if act is None:
            raise DemoFailed(f"There is no act {name!r} on {target!r}: choose from {', '.join(sorted(self._first))}.")
        await act.do()
        return act
