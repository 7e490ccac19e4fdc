"""A customer without a browser: signs in, orders and reads pages over HTTP."""

import html
import re
import time
from dataclasses import dataclass
from decimal import Decimal

import requests


@dataclass(frozen=True)
class Placed:
    """An order as its page shows it after a while."""

    path: str
    charge: Decimal
    quantity: int


@dataclass(frozen=True)
class Seen:
    """What an order's page says."""

    status: str
    remains: int | None
    movements: list[Decimal]


class Visitor:
    """One signed-in session; every answer must be a 200."""

    def __init__(self, site: str) -> None:
        self._site = site.rstrip("/")
        self._session = requests.Session()
        self._session.trust_env = False

    def get(self, path: str) -> str:
        answer = self._session.get(self._site + path, timeout=30)
        assert answer.status_code == 200, f"{path}: {answer.status_code}"
        return answer.text

    def post(self, path: str, fields: dict[str, str], *, form: str) -> requests.Response:
        """Send a form of the page `form` with its hidden fields."""
        page = self.get(form)
        return self._session.post(
            self._site + path,
            data={**hidden_fields(page), **fields},
            headers={"Referer": self._site + form},
            timeout=30,
        )

    def choose_password(self, link: str, password: str) -> None:
        path = self._session.get(link, timeout=30).url.removeprefix(self._site)
        answer = self.post(path, {"password1": password, "password2": password}, form=path)
        assert answer.status_code == 200, answer.status_code

    def sign_in(self, email: str, password: str) -> None:
        path = "/accounts/login/"
        answer = self.post(path, {"login": email, "password": password}, form=path)
        assert answer.url != self._site + path, "not signed in"

    def balance(self) -> Decimal:
        [shown] = re.findall(r'id="balance".*?<b>(.*?)</b>', self.get("/wallet/"), re.DOTALL)
        return amount(shown)

    def simple_service(self, *, cheapest_of: str) -> int:
        """A service among those found by a word that only wants a link and a quantity."""
        found = re.findall(r"\?service=(\d+)", self.get(f"/orders/new/?q={cheapest_of}"))
        for number in found:
            page = self.get(f"/orders/new/?service={number}")
            if set(re.findall(r'name="(\w+)"[^>]*id="id_', page)) == {"link", "quantity"}:
                return int(number)
        raise AssertionError("no service wants just a link and a quantity")

    def order(self, service: int, *, link: str, quantity: int) -> Placed:
        """Ask for the charge, then place the order that was shown: the way without scripts."""
        form = f"/orders/new/?service={service}"
        fields = {"link": link, "quantity": str(quantity)}
        shown = self.post("/orders/new/", {**fields, "action": "quote"}, form=form)
        quoted = hidden_fields(shown.text)
        answer = self._session.post(
            f"{self._site}/orders/new/",
            data={**quoted, **fields, "action": "place"},
            headers={"Referer": self._site + form},
            timeout=30,
        )
        path = answer.url.removeprefix(self._site)
        assert re.fullmatch(r"/orders/\d+/\?placed", path), path
        return Placed(path=path, charge=Decimal(quoted["seen_charge"]), quantity=quantity)

    def send_order(self, fields: dict[str, str]) -> bool:
        """Send the order's form as it stands; whether the answer leads to the order's page."""
        answer = self._session.post(
            f"{self._site}/orders/new/",
            data=fields,
            headers={
                "Referer": self._site + "/orders/new/",
                "X-CSRFToken": self._session.cookies.get("csrftoken") or "",
            },
            allow_redirects=False,
            timeout=30,
        )
        return re.fullmatch(r"/orders/\d+/\?placed", answer.headers.get("Location", "")) is not None

    def look(self, order: Placed) -> Seen:
        page = self.get(order.path)
        [status, *_] = re.findall(r'<span class="badge [^>]*>(.*?)</span>', page)
        [remains] = re.findall(r"<dt>Remains</dt><dd>(.*?)</dd>", page)
        [money] = re.findall(r"<h2>Money</h2>(.*?)<div class=\"total\">", page, re.DOTALL)
        return Seen(
            status=html.unescape(status),
            remains=int(re.sub(r"\D", "", remains)) if re.search(r"\d", remains) else None,
            movements=[amount(shown) for shown in re.findall(r"<dd>(.*?)</dd>", money)],
        )

    def wait_for(self, order: Placed, status: str, *, seconds: float) -> Seen:
        """Look until the order has the status; fails when it takes longer."""
        deadline = time.monotonic() + seconds
        while (seen := self.look(order)).status != status:
            assert time.monotonic() < deadline, f"{order.path} is {seen.status}, not {status}"
            time.sleep(0.5)
        return seen


def hidden_fields(page: str) -> dict[str, str]:
    """The hidden fields of the page's main part; the header has forms of its own."""
    main = page[page.index("<main") :]
    fields = {}
    for tag in re.findall(r"<input[^>]*>", main):
        attributes = dict(re.findall(r'(\w+)="([^"]*)"', tag))
        if attributes.get("type") == "hidden" and "name" in attributes:
            fields[attributes["name"]] = html.unescape(attributes.get("value", ""))
    return fields


def amount(shown: str) -> Decimal:
    """An amount as a page shows it, such as −1,234.50 USD."""
    plain = html.unescape(re.sub(r"<[^>]*>", "", shown)).replace(",", "")
    [number] = re.findall(r"[-−–+]?\s*\d+(?:\.\d+)?", plain.replace("$", ""))
    return Decimal(re.sub(r"[−–]", "-", number).replace(" ", "").replace("\xa0", ""))
