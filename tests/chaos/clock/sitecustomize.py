"""A clock that is off: imported first by every Python whose path begins with this folder.

``CHAOS_CLOCK`` names a file with the seconds that are added to the time of day. The monotonic clock
stays as it is, as in a machine whose administrator sets the time.
"""

import datetime
import os
import time

import pandas  # noqa: F401 - compiled code that is imported later would want the real class

_FILE = os.environ["CHAOS_CLOCK"]
_time, _time_ns, _real = time.time, time.time_ns, datetime.datetime


def _offset() -> float:
    with open(_FILE) as stream:
        return float(stream.read())


class _Kind(type(_real)):  # type: ignore[misc]
    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, _real)  # what C code makes is one, too

    def __subclasscheck__(cls, kind: type) -> bool:
        return issubclass(kind, _real)


class _Shifted(_real, metaclass=_Kind):
    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> datetime.datetime:
        return _real.now(tz) + datetime.timedelta(seconds=_offset())

    @classmethod
    def utcnow(cls) -> datetime.datetime:
        naive = _real.now(datetime.UTC).replace(tzinfo=None)
        return naive + datetime.timedelta(seconds=_offset())

    @classmethod
    def today(cls) -> datetime.datetime:
        return cls.now()


time.time = lambda: _time() + _offset()
time.time_ns = lambda: _time_ns() + round(_offset() * 1e9)
datetime.datetime = _Shifted  # type: ignore[misc]
