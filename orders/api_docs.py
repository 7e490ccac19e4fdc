"""API v2 described once: the customers' page and the OpenAPI description are made from it.

The order types and their fields come from `upstream.order_types`, as those of the order form do.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from orders.api_add import LONGEST_REQUEST_ID
from orders.api_fields import MAX_IDS
from orders.api_texts import BAD_ORDER, BAD_REFILL
from upstream.order_types import ORDER_TYPES, Field, FieldKind, OrderType

Text = str | Promise

_PARTIAL = {
    "charge": "0.41205",
    "start_count": "1820",
    "status": "Partial",
    "remains": "240",
    "currency": "USD",
}
_RUNNING = {
    "charge": "1.2",
    "start_count": "95",
    "status": "In progress",
    "remains": "600",
    "currency": "USD",
}


@dataclass(frozen=True)
class Parameter:
    """One parameter of a call; `kind` is how its value is spelled."""

    name: str
    text: Text
    required: bool = True
    kind: FieldKind = FieldKind.TEXT
    choices: tuple[tuple[str, str], ...] = ()
    longest: int | None = None


@dataclass(frozen=True)
class Call:
    """One way to call an action: what is sent besides the key, and an example of the answer."""

    title: Text
    action: str
    parameters: tuple[Parameter, ...]
    answer: Any
    order_type: OrderType | None = None

    @property
    def example(self) -> str:
        return json.dumps(self.answer, indent=4)

    @property
    def slug(self) -> str:
        """Names the call within an address and in the OpenAPI description."""
        kind = self.order_type.key if self.order_type else ""
        many = "-many" if any(p.name in {"orders", "refills"} for p in self.parameters) else ""
        return f"{self.action}{many}{'-' if kind else ''}{kind}"


_ORDER = Parameter("order", _("Order ID"), kind=FieldKind.INTEGER)
_ORDERS = Parameter("orders", _("Order IDs (separated by a comma, up to 100 IDs)"))
_REFILL = Parameter("refill", _("Refill ID"), kind=FieldKind.INTEGER)
_REFILLS = Parameter("refills", _("Refill IDs (separated by a comma, up to 100 IDs)"))
_SERVICE = Parameter("service", _("Service ID"), kind=FieldKind.INTEGER)
_REQUEST_ID = Parameter(
    "request_id",
    _(
        "Your own number for this order. Sent again within 48 hours it gets the first answer, and "
        "no second order."
    ),
    required=False,
    longest=LONGEST_REQUEST_ID,
)

_SERVICES = [
    {
        "service": 1,
        "name": "Followers",
        "type": "Default",
        "category": "First category",
        "rate": "0.9",
        "min": "50",
        "max": "10000",
        "refill": True,
        "cancel": True,
    },
    {
        "service": 2,
        "name": "Comments",
        "type": "Custom Comments",
        "category": "Second category",
        "rate": "8",
        "min": "10",
        "max": "1500",
        "refill": False,
        "cancel": True,
    },
]

BEFORE_ADD = (Call(_("Service list"), "services", (), _SERVICES),)
AFTER_ADD = (
    Call(_("Order status"), "status", (_ORDER,), _PARTIAL),
    Call(
        _("Multiple orders status"),
        "status",
        (_ORDERS,),
        {"1": _PARTIAL, "10": {"error": BAD_ORDER}, "100": _RUNNING},
    ),
    Call(_("Create refill"), "refill", (_ORDER,), {"refill": "1"}),
    Call(
        _("Create multiple refill"),
        "refill",
        (_ORDERS,),
        [{"order": 1, "refill": 1}, {"order": 3, "refill": {"error": BAD_ORDER}}],
    ),
    Call(_("Get refill status"), "refill_status", (_REFILL,), {"status": "Completed"}),
    Call(
        _("Get multiple refill status"),
        "refill_status",
        (_REFILLS,),
        [
            {"refill": 1, "status": "Completed"},
            {"refill": 2, "status": "Rejected"},
            {"refill": 3, "status": {"error": BAD_REFILL}},
        ],
    ),
    Call(
        _("Create cancel"),
        "cancel",
        (_ORDERS,),
        [{"order": 9, "cancel": {"error": BAD_ORDER}}, {"order": 2, "cancel": 1}],
    ),
    Call(_("User balance"), "balance", (), {"balance": "100.84292", "currency": "USD"}),
)


def _parameter(field: Field) -> Parameter:
    return Parameter(
        field.name,
        field.label,
        required=field.required,
        kind=field.kind,
        choices=field.choices,
    )


def _add(order_type: OrderType) -> Call:
    own = tuple(_parameter(field) for field in order_type.fields)
    parameters = (_SERVICE, *own, _REQUEST_ID)
    return Call(_("Add order"), "add", parameters, {"order": 23501}, order_type)


ADDS = tuple(_add(order_type) for order_type in ORDER_TYPES)
CALLS = (*BEFORE_ADD, *ADDS, *AFTER_ADD)


@dataclass(frozen=True)
class Row:
    """A line of a parameter table, in the reader's language."""

    name: str
    text: str
    is_optional: bool = False


def table(call: Call) -> list[Row]:
    """The parameters of a call with key and action, as the page lists them."""
    rows = [Row("key", gettext("Your API key")), Row("action", call.action)]
    return rows + [
        Row(parameter.name, _told(parameter), not parameter.required)
        for parameter in call.parameters
    ]


def _told(parameter: Parameter) -> str:
    text = gettext(str(parameter.text)) if isinstance(parameter.text, str) else str(parameter.text)
    if parameter.kind is FieldKind.DATE:
        return f"{text} (d/m/Y)"
    if not parameter.choices:
        return text
    named = [
        value if value == label else f"{value}: {gettext(label)}"
        for value, label in parameter.choices
    ]
    return f"{text} ({', '.join(named)})"


_SAMPLES = {
    FieldKind.INTEGER: "100",
    FieldKind.LINK: "https://example.com/post",
    FieldKind.LINES: "first\nsecond",
    FieldKind.DATE: "31/12/2030",
    FieldKind.TEXT: "example",
}


def sample(call: Call) -> dict[str, str]:
    """What a client would send, the key left for it to fill in; only what is required."""
    sent = {"key": "YOUR_API_KEY", "action": call.action}
    for parameter in call.parameters:
        if parameter.required:
            sent[parameter.name] = _sample(parameter)
    return sent


def _sample(parameter: Parameter) -> str:
    if parameter.name in {"orders", "refills"}:
        return "1,10,100"
    if parameter.name in {"service", "order", "refill", "answer_number", "posts"}:
        return "1"
    # The last choice asks for no other field.
    return parameter.choices[-1][0] if parameter.choices else _SAMPLES[parameter.kind]


@dataclass(frozen=True)
class Example:
    """A call in one language, ready to be copied."""

    name: str
    code: str


def examples(url: str) -> list[Example]:
    """Placing an order with curl, PHP and Python."""
    fields = sample(ADDS[0])
    return [
        Example("curl", _curl(url, fields)),
        Example("PHP", _php(url, fields)),
        Example("Python", _python(url, fields)),
    ]


def _curl(url: str, fields: dict[str, str]) -> str:
    lines = [f"curl {url}"]
    lines += [f"  --data-urlencode '{name}={value}'" for name, value in fields.items()]
    return " \\\n".join(lines)


def _php(url: str, fields: dict[str, str]) -> str:
    pairs = "\n".join(f"    '{name}' => '{value}'," for name, value in fields.items())
    return (
        f"<?php\n$call = curl_init('{url}');\n"
        f"curl_setopt_array($call, [\n"
        f"    CURLOPT_RETURNTRANSFER => true,\n"
        f"    CURLOPT_POSTFIELDS => http_build_query([\n"
        + "".join(f"    {line}\n" for line in pairs.split("\n"))
        + "    ]),\n]);\n$answer = json_decode(curl_exec($call));\necho $answer->order;\n"
    )


def _python(url: str, fields: dict[str, str]) -> str:
    pairs = "\n".join(f'    "{name}": "{value}",' for name, value in fields.items())
    return (
        "import requests\n\n"
        f'answer = requests.post("{url}", data={{\n{pairs}\n}}, timeout=30).json()\n'
        'print(answer["order"])\n'
    )


def openapi(url: str, name: str) -> dict[str, Any]:
    """The OpenAPI 3.1 description of the address `url` of a site called `name`."""
    base, _api, path = url.rpartition("/api/")
    forms = {call.slug: _schema(call) for call in CALLS}
    answers = {f"{name}Answer": schema for name, schema in _ANSWERS.items()}
    body = {"oneOf": [{"$ref": f"#/components/schemas/{slug}"} for slug in forms]}
    content = {"schema": body, "examples": dict(_body_examples())}
    return {
        "openapi": "3.1.0",
        "info": {"title": f"{name} API", "version": "2"},
        "servers": [{"url": base or url}],
        "paths": {
            f"/api/{path}": {
                "post": {
                    "operationId": "call",
                    "summary": "One call; its action decides the other fields",
                    "requestBody": {
                        "required": True,
                        "content": {
                            "application/x-www-form-urlencoded": content,
                            "application/json": content,
                        },
                    },
                    "responses": _responses(),
                }
            }
        },
        "components": {"schemas": forms | answers | {"Error": _ERROR}},
    }


_ERROR_BODY = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
_ERROR: dict[str, Any] = {
    "type": "object",
    "required": ["error"],
    "properties": {"error": {"type": "string"}},
}


def _record(properties: dict[str, Any], *optional: str) -> dict[str, Any]:
    required = [name for name in properties if name not in optional]
    return {"type": "object", "required": required, "properties": properties}


def _list(properties: dict[str, Any], *optional: str) -> dict[str, Any]:
    return {"type": "array", "items": _record(properties, *optional)}


def _or_error(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"$ref": "#/components/schemas/Error"}]}


_TEXT: dict[str, Any] = {"type": "string"}
_NUMERAL: dict[str, Any] = {"type": "string", "pattern": r"^-?\d+(\.\d+)?$"}
_ID: dict[str, Any] = {"type": "integer"}
# An ID that can't be one is told back as it was sent.
_ECHO: dict[str, Any] = {"type": ["integer", "string"]}
_IDS: dict[str, Any] = {"type": "array", "items": {"type": "string", "pattern": r"^\d+$"}}
_FLAG: dict[str, Any] = {"type": "boolean"}

_ORDER_STATUS = _record(
    {
        "charge": _NUMERAL,
        "start_count": _NUMERAL,
        "status": _TEXT,
        "remains": _NUMERAL,
        "currency": _TEXT,
    }
)
_RUNS_STATUS = _record({"status": _TEXT, "runs": _NUMERAL, "orders": _IDS})
_POSTS_STATUS = _record(
    {
        "status": _TEXT,
        "expiry": _TEXT,
        "posts": _NUMERAL,
        "orders": _IDS,
        "old_orders": _IDS,
        "charge": _NUMERAL,
        "currency": _TEXT,
    },
    "charge",
    "currency",
)
_STATUS = {"anyOf": [_ORDER_STATUS, _RUNS_STATUS, _POSTS_STATUS]}
_SERVICE_ROW = {
    "service": _ID,
    "name": _TEXT,
    "type": _TEXT,
    "category": _TEXT,
    "rate": _NUMERAL,
    "min": _NUMERAL,
    "max": _NUMERAL,
    "refill": _FLAG,
    "cancel": _FLAG,
    "dripfeed": _FLAG,
}
# What each way to call is answered with, by its slug; the order types share one answer.
_ANSWERS: dict[str, dict[str, Any]] = {
    "services": _list(_SERVICE_ROW, "dripfeed"),
    "add": _record({"order": _ID}),
    "status": _STATUS,
    "status-many": {
        "type": "object",
        "propertyNames": {"not": {"const": "error"}},
        "additionalProperties": _or_error(_STATUS),
    },
    "refill": _record({"refill": _NUMERAL}),
    "refill-many": _list({"order": _ECHO, "refill": _or_error(_ID)}),
    "refill_status": _record({"status": _TEXT}),
    "refill_status-many": _list({"refill": _ECHO, "status": _or_error(_TEXT)}),
    "cancel-many": _list({"order": _ECHO, "cancel": _or_error({"const": 1})}),
    "balance": _record({"balance": _NUMERAL, "currency": _TEXT}),
}


def _body_examples() -> Iterator[tuple[str, dict[str, Any]]]:
    for call in CALLS:
        yield call.slug, {"value": sample(call)}


def _responses() -> dict[str, Any]:
    answers = {call.slug: {"value": call.answer} for call in CALLS}
    possible = [{"$ref": f"#/components/schemas/{name}Answer"} for name in _ANSWERS]
    return {
        "200": {
            "description": "The answer, or an error",
            "content": {
                "application/json": {
                    "schema": {"anyOf": [{"$ref": "#/components/schemas/Error"}, *possible]},
                    "examples": answers,
                }
            },
        },
        "304": {"description": "services: the list is the one named in If-None-Match"},
        "429": {
            "description": "Too many calls of this key, wrong keys of this address, or too much to "
            "do at the moment; nothing was done, and the same call may be sent again",
            "headers": {"Retry-After": {"schema": {"type": "integer"}}},
            "content": _ERROR_BODY,
        },
        "503": {
            "description": "The database is away; whether the call was carried out is not known. An add "
            "that is sent again with the same request_id is never a second order",
            "headers": {"Retry-After": {"schema": {"type": "integer"}}},
            "content": _ERROR_BODY,
        },
    }


def _schema(call: Call) -> dict[str, Any]:
    properties: dict[str, Any] = {
        "key": {"type": "string", "description": "Your API key"},
        "action": {"const": call.action},
    }
    properties |= {parameter.name: _value(parameter) for parameter in call.parameters}
    required = [parameter.name for parameter in call.parameters if parameter.required]
    title = call.order_type.name if call.order_type else str(call.title)
    return {
        "title": f"{call.action}: {title}",
        "type": "object",
        "required": ["key", "action", *required],
        "properties": properties,
    }


def _value(parameter: Parameter) -> dict[str, Any]:
    told = {"type": "string", "description": str(parameter.text)}
    if parameter.choices:
        return told | {"enum": [value for value, _label in parameter.choices]}
    if parameter.name in {"orders", "refills"}:
        return told | {"pattern": rf"^\d+(,\d+){{0,{MAX_IDS - 1}}}$"}
    if parameter.kind is FieldKind.INTEGER:
        return told | {"pattern": r"^\d{1,12}$"}
    return told | ({"maxLength": parameter.longest} if parameter.longest else {})
