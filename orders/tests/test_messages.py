"""Messages that are sent again with other numbers are those that Celery itself sends."""

import base64
import json
import socket
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery
from django.conf import settings
from redis import Redis
from redis.exceptions import ConnectionError as Away

from orders import messages
from orders.messages import publish
from orders.wakeups import broker, kick

TASKS = ["orders.tasks.forward_order", "orders.tasks.probe_provider", "orders.tasks.work_on_run"]
HEADERS = {"panel_request": "of-the-page"}
# What is another with each message.
OWN = {"id", "root_id", "correlation_id", "delivery_tag"}


def an_app(broker: str, prefix: str = "") -> "Celery[Any]":
    app: Celery[Any] = Celery("test", broker=broker, set_as_current=False)
    app.conf.task_default_queue = settings.CELERY_TASK_DEFAULT_QUEUE
    app.conf.task_routes = settings.CELERY_TASK_ROUTES
    app.conf.broker_transport_options = {
        **settings.CELERY_BROKER_TRANSPORT_OPTIONS, "global_keyprefix": prefix,
    }  # fmt: skip
    return app


@pytest.fixture
def app() -> Iterator["Celery[Any]"]:
    """Redis with this test's messages kept apart."""
    app = an_app(settings.REDIS_URL, f"test-{uuid.uuid4()}:")
    yield app
    app.close()


def taken(app: "Celery[Any]", task: str) -> dict[str, Any]:
    """The one message of the queue that workers of this task listen to."""
    queue = app.amqp.router.route({}, task)["queue"].name
    with Redis.from_url(settings.REDIS_URL) as redis:
        key = f"{app.conf.broker_transport_options['global_keyprefix']}{queue}"
        assert redis.llen(key) == 1
        message: dict[str, Any] = json.loads(redis.rpop(key))
        return message


def facts(message: dict[str, Any]) -> dict[str, Any]:
    """All that stands in a message but its own IDs, which are given as the number of kinds."""
    flat = {
        **{name: message[name] for name in ("content-type", "content-encoding")},
        **message["headers"],
        **message["properties"],
        "body": json.loads(base64.b64decode(message["body"])),
    }
    ids = {flat.pop("id"), flat.pop("root_id"), flat.pop("correlation_id")}
    assert all(uuid.UUID(each) for each in (*ids, flat.pop("delivery_tag")))
    # A random name of the thread that would wait for a result, were there one.
    flat.pop("reply_to")
    return {**flat, "ids": len(ids)}


@pytest.mark.redis
@pytest.mark.parametrize("task", TASKS)
def test_a_message_is_the_one_that_celery_sends(app: "Celery[Any]", task: str) -> None:
    app.send_task(task, args=(7,), retry=False, ignore_result=True, headers=HEADERS)
    expected = taken(app, task)

    publish(app, task, 1, {"panel_request": "another"})
    first = taken(app, task)
    publish(app, task, 7, HEADERS)
    second = taken(app, task)

    assert facts(second) == facts(expected)
    assert facts(first)["body"][0] == [1]
    assert facts(first)["panel_request"] == "another"
    for name in OWN:
        kept = [each["headers"] | each["properties"] for each in (expected, first, second)]
        assert len({each[name] for each in kept}) == 3, name


@pytest.mark.redis
def test_the_panels_own_app_sends_so_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """By way of `celery.current_app`, which only stands for the app."""
    broker.forgive()
    queue = f"test-{uuid.uuid4()}"
    monkeypatch.setattr(
        messages,
        "with_numbers",
        lambda *_: {"properties": {"delivery_info": {"routing_key": queue}}},
    )

    assert kick(7)

    prefix = settings.CELERY_BROKER_TRANSPORT_OPTIONS["global_keyprefix"]
    with Redis.from_url(settings.REDIS_URL) as redis:
        assert redis.rpop(f"{prefix}{queue}")


@pytest.mark.redis
def test_celery_makes_one_message_for_each_task(
    app: "Celery[Any]", monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    send = Celery.send_task

    def counted(self: "Celery[Any]", name: str, *args: Any, **options: Any) -> Any:
        made.append(name)
        return send(self, name, *args, **options)

    monkeypatch.setattr(Celery, "send_task", counted)
    for number in range(5):
        for task in TASKS[:2]:
            publish(app, task, number, HEADERS)

    assert made == TASKS[:2]
    with Redis.from_url(settings.REDIS_URL) as redis:
        prefix = app.conf.broker_transport_options["global_keyprefix"]
        assert redis.llen(f"{prefix}{settings.CELERY_TASK_DEFAULT_QUEUE}") == 10


@pytest.mark.parametrize(
    "broker", ["memory://x/", "rediss://127.0.0.1:1/0?ssl_cert_reqs=CERT_NONE"]
)
def test_another_broker_gets_what_celery_sends_by_itself(
    broker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = an_app(broker)
    sent: list[tuple[str, dict[str, Any]]] = []
    monkeypatch.setattr(
        Celery, "send_task", lambda _self, name, **options: sent.append((name, options))
    )

    publish(app, TASKS[0], 7, HEADERS)

    options = {"retry": False, "ignore_result": True, "headers": HEADERS}
    assert sent == [(TASKS[0], {"args": (7,), **options})]


def test_a_message_that_is_made_while_a_task_runs_belongs_to_none() -> None:
    made = messages._made_by_celery(an_app("redis://127.0.0.1:1/0"), TASKS[0], HEADERS)
    made["headers"]["parent_id"] = made["headers"]["root_id"] = "of-the-running-task"

    sent = messages.with_numbers(made, 3, {})

    assert sent["headers"]["parent_id"] is None
    assert sent["headers"]["root_id"] == sent["headers"]["id"]
    assert made["headers"]["root_id"] == "of-the-running-task", "the kept one is not changed"


@pytest.mark.redis
def test_a_connection_that_the_broker_has_closed_is_opened_anew(app: "Celery[Any]") -> None:
    """A broker that was restarted between two orders costs neither of them its wake-up."""
    publish(app, TASKS[0], 1, HEADERS)
    kept = messages._known[app]._redis
    with Redis.from_url(settings.REDIS_URL) as other:
        other.client_kill_filter(_id=str(kept.client_id()))

    publish(app, TASKS[0], 2, HEADERS)

    prefix = app.conf.broker_transport_options["global_keyprefix"]
    assert kept.llen(f"{prefix}{settings.CELERY_TASK_DEFAULT_QUEUE}") == 2


def test_a_broker_that_is_away_is_said_to_be_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

    with pytest.raises(Away):
        publish(an_app(f"redis://127.0.0.1:{port}/0"), TASKS[0], 3, HEADERS)


def test_a_message_is_made_apart_from_what_else_is_in_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All that Kombu keeps in memory is in the same queue, whatever the connection is called."""
    app = an_app("redis://127.0.0.1:1/0")
    sent: list[str] = []
    monkeypatch.setattr(Redis, "lpush", lambda _self, _queue, text: sent.append(text))
    with app.connection_for_write("memory://") as connection:
        messages._by_celery(app, TASKS[1], 0, HEADERS, connection=connection)

        publish(app, TASKS[0], 7, HEADERS)

        channel: Any = connection.default_channel
        channel.queue_purge(app.amqp.router.route({}, TASKS[1])["queue"].name)
    assert [json.loads(text)["headers"]["task"] for text in sent] == [TASKS[0]]
