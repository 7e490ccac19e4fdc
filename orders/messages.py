"""Messages to Celery's workers: each made once by Celery, and sent again with other numbers in it.

To make a message and find its way costs Celery and Kombu ten times what sending it does: 0.42 against
0.04 ms of CPU, a sixth of all that placing an order costs. So Celery makes one message for a task, by
its own code, into a queue in memory. That is what stands in a list of Redis; before it is put there,
what differs from one message to the next is exchanged: the argument, the message's own IDs, the number
of the request. Where the broker isn't Redis, or is behind TLS, whose options Kombu and Redis name
differently, Celery sends each by itself.
"""

import base64
import json
import threading
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

from celery import Celery
from celery.local import Proxy

_Message = dict[str, Any]
# What of Kombu's options says how long Redis is waited for.
_WAITS = ("socket_timeout", "socket_connect_timeout", "socket_keepalive", "health_check_interval")


def publish(app: "Celery[Any]", task: str, identifier: int, headers: Mapping[str, str]) -> None:
    """Send one message, a task's name with a number; raises what Celery or the broker's library raises."""
    if not str(app.conf.broker_url).startswith("redis://"):
        _by_celery(app, task, identifier, headers)
        return
    # What `celery.current_app` stands for; of the stand-in nothing can be kept.
    app = app._get_current_object() if isinstance(app, Proxy) else app
    with _lock:
        known = _known.get(app)
        if known is None:
            known = _known[app] = _Known(app)
    known.send(task, identifier, headers)


def _by_celery(
    app: "Celery[Any]", task: str, identifier: int, headers: Mapping[str, str], **options: Any
) -> None:
    app.send_task(
        task, args=(identifier,), retry=False, ignore_result=True, headers=dict(headers), **options
    )


@dataclass
class _Known:
    """One app's Redis, and the messages that it has made."""

    app: "Celery[Any]"
    made: dict[str, _Message] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # One process on SQLite needs no Redis, and none of its library.
        from redis import ConnectionError as Away  # noqa: PLC0415
        from redis import Redis  # noqa: PLC0415
        from redis.backoff import NoBackoff  # noqa: PLC0415
        from redis.retry import Retry  # noqa: PLC0415

        options = self.app.conf.broker_transport_options
        self._prefix = options.get("global_keyprefix", "")
        self._redis = Redis.from_url(
            self.app.conf.broker_url,
            # A kept connection may have been closed by a server that has restarted since.
            retry=Retry(NoBackoff(), 1, supported_errors=(Away,)),
            **{name: options[name] for name in _WAITS if name in options},
        )

    def send(self, task: str, identifier: int, headers: Mapping[str, str]) -> None:
        if task not in self.made:
            self.made[task] = _made_by_celery(self.app, task, headers)
        message = with_numbers(self.made[task], identifier, headers)
        queue = message["properties"]["delivery_info"]["routing_key"]
        self._redis.lpush(f"{self._prefix}{queue}", json.dumps(message))


_known: "WeakKeyDictionary[Celery[Any], _Known]" = WeakKeyDictionary()
_lock = threading.Lock()


def _made_by_celery(app: "Celery[Any]", task: str, headers: Mapping[str, str]) -> _Message:
    """What Celery and Kombu put into a queue for this task."""
    with app.connection_for_write("memory://") as connection:
        channel: Any = connection.default_channel
        # Of its own: what is in memory is in the same queue for all connections and tasks.
        channel.queues = {}
        _by_celery(app, task, 0, headers, connection=connection)
        message: _Message = channel._get(app.amqp.router.route({}, task)["queue"].name)
        return message


def with_numbers(message: _Message, identifier: int, headers: Mapping[str, str]) -> _Message:
    """The same message for another object, with IDs of its own."""
    task_id = str(uuid.uuid4())
    _args, kwargs, embedded = json.loads(base64.b64decode(message["body"]))
    body = json.dumps([[identifier], kwargs, embedded])
    own = {"id": task_id, "root_id": task_id, "parent_id": None, "argsrepr": f"({identifier},)"}
    return {
        **message,
        "body": base64.b64encode(body.encode()).decode(),
        "headers": {**message["headers"], **own, **headers},
        "properties": {
            **message["properties"],
            "correlation_id": task_id,
            "delivery_tag": str(uuid.uuid4()),
        },
    }
