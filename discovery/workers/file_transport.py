"""Kombu's transport by files, with messages that are there whole or not at all.

Kombu writes a message into its final place, where a worker may take it before it is complete, and
where a full disk leaves a part of it; a worker that takes such a file ends with an error of the
JSON reader. Here a message is written beside the queue and moved into it.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import time
import uuid
from typing import Any

from kombu.exceptions import ChannelError
from kombu.transport import filesystem
from kombu.utils.encoding import str_to_bytes
from kombu.utils.json import dumps

log = logging.getLogger(__name__)


class Channel(filesystem.Channel):
    """Puts messages whole, and drops those of others that are not."""

    def _put(self, queue: Any, payload: Any, **_: Any) -> None:  # type: ignore[override]
        """Put a message onto a queue.

        Raises:
            ChannelError: It cannot be written; nothing is left of it.
        """
        name = f"{time.monotonic_ns():020}_{uuid.uuid4()}"
        draft = os.path.join(self.data_folder_out, f"{name}.part")
        try:
            with open(draft, "wb") as stream:
                stream.write(str_to_bytes(dumps(payload)))
            os.replace(draft, os.path.join(self.data_folder_out, f"{name}.{queue}.msg"))
        except OSError as error:
            with contextlib.suppress(OSError):
                os.remove(draft)
            raise ChannelError(f"no message can be written to {self.data_folder_out}") from error

    def _get(self, queue: Any, timeout: Any = None) -> Any:
        """Take the next message of a queue; `queue.Empty` where there is none."""
        while True:
            try:
                return super()._get(queue)
            except json.JSONDecodeError:  # it is taken already; messages are only hints
                log.warning("a message of the queue %s was not whole: dropped", queue)


class Transport(filesystem.Transport):
    """The transport of these channels."""

    Channel = Channel
