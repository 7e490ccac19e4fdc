"""The price list as CSV and XLSX: exported, edited, brought back as a plan; and files that are hostile."""

import io
import zipfile
from collections.abc import Callable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse
from openpyxl import Workbook, load_workbook

from accounts.models import User
from catalog import changing, price_file, sheets
from catalog.models import BulkChange, Category, Service
from catalog.sheets import UnreadableFile
from catalog.tests.test_admin import act, page, text

D = Decimal
Rows = Sequence[Sequence[Any]]


@pytest.fixture
def owner(client: Client, staff: User) -> Client:
    client.force_login(staff)
    return client


def export(owner: Client, name: str) -> bytes:
    answer: Any = owner.get(reverse(f"admin:catalog_service_{name}"))
    assert answer.status_code == 200
    return b"".join(answer)


def bring(owner: Client, body: bytes | str, name: str = "prices.csv") -> Any:
    content = body.encode() if isinstance(body, str) else body
    file = SimpleUploadedFile(name, content)
    return owner.post(reverse("admin:catalog_service_import_list"), {"file": file})


def refusal(answer: Any) -> str:
    """What the form says of the file; nothing was planned."""
    assert not BulkChange.objects.exists()
    return " ".join(answer.context["form"].errors["file"])


def workbook(rows: Rows, change: Callable[[Any], None] | None = None) -> bytes:
    book: Any = Workbook()
    for row in rows:
        book.active.append(row)
    if change:
        change(book)
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def unpacked(body: bytes) -> list[list[Any]]:
    book: Any = load_workbook(io.BytesIO(body))
    return [[cell.value for cell in row] for row in book.active.iter_rows()]


def test_the_exported_list_comes_back_as_a_plan_of_what_was_edited(
    owner: Client, service: Service
) -> None:
    Service.objects.update(name="=cmd|' /C calc'!A0")
    exported = export(owner, "export_list").decode().splitlines()
    assert exported[1].endswith(",1,2,,,,,,yes")
    assert ",'=cmd" in exported[1]

    edited = [exported[0], exported[1].replace(",1,2,,,,,,yes", ",1,2,2.5,,,,,no")]
    answer = bring(owner, "\n".join(edited))

    bulk = BulkChange.objects.get()
    assert answer["Location"] == page(bulk)
    assert bulk.rows[0][2:] == [
        {"pinned_rate": [None, "2.5"], "is_sold": [True, False]}, "2", "2.5",
    ]  # fmt: skip
    assert Service.objects.get().pinned_rate is None
    act(owner, bulk, "apply")
    assert Service.objects.get().price_rate == D("2.5")


def test_a_workbook_is_exported_edited_and_comes_back_with_the_same_preview_and_row_errors(
    owner: Client, service: Service
) -> None:
    """Numbers are numbers to the last digit, and no text of a provider is a formula."""
    Service.objects.update(
        name="=HYPERLINK(1)\x07", markup_fixed=D("12345678.1234567"), price_rate=D("9.9999999")
    )
    Category.objects.update(name="#N/A")
    for number in range(2, 5):
        Service.objects.create(
            provider=service.provider, category=service.category, upstream_id=f"-{number}",
            name=f"Likes {number}", order_type="default", cost_rate=1, price_rate=2, max_quantity=9,
        )  # fmt: skip
    book: Any = load_workbook(io.BytesIO(export(owner, "export_workbook")))
    sheet = book.active
    header = [cell.value for cell in sheet[1]]
    assert header == [*price_file._SHOWN, *price_file.EDITABLE]
    name, category, upstream_id = sheet["D2"], sheet["E2"], sheet["C3"]
    assert (name.value, name.data_type, name.quotePrefix) == ("=HYPERLINK(1)", "s", True)
    assert (category.value, category.data_type) == ("#N/A", "s")
    assert (upstream_id.value, upstream_id.data_type) == ("-2", "s")
    assert [sheet["F2"].value, sheet["G2"].value] == [1, 9.9999999]
    assert sheet["J2"].value == pytest.approx(12345678.1234567, abs=0)

    bring(owner, workbook(unpacked(export(owner, "export_workbook"))), "same.xlsx")
    assert BulkChange.objects.get().rows == []

    sheet["H2"], sheet["M2"] = 2.1, "no"
    sheet["H3"], sheet["H4"] = "cheap", 0.5
    sheet["I5"] = 80
    out = io.BytesIO()
    book.save(out)
    answer = bring(owner, out.getvalue(), "edited.xlsx")

    bulk = BulkChange.objects.latest("pk")
    assert answer["Location"] == page(bulk)
    assert [row[2:] for row in bulk.rows] == [
        [{"pinned_rate": [None, "2.1"], "is_sold": [True, False]}, "9.9999999", "2.1"],
        [{"markup_percent": [None, "80"]}, "2", "1.8"],
    ]
    shown = text(owner.get(page(bulk)))
    assert bulk.problems[0] == ["line 3", "cheap in pinned_price is not a number."]
    assert "below the cost of 1" in bulk.problems[1][1]
    assert "cheap in pinned_price" in shown
    act(owner, bulk, "apply")
    assert list(Service.objects.order_by("pk").values_list("price_rate", flat=True)) == [
        D("2.1"), 2, 2, D("1.8"),
    ]  # fmt: skip


def test_an_unchanged_file_changes_nothing(owner: Client, service: Service) -> None:
    bring(owner, export(owner, "export_list"))

    assert BulkChange.objects.get().rows == []


def test_rows_that_make_no_sense_are_named_and_the_others_planned(
    owner: Client, service: Service
) -> None:
    body = [
        "id;pinned_price;sold", f"{service.pk};1,5;yes", "abc;1;yes", "7;1", "",
        f"{service.pk};3;no", f"{service.pk};4;no", "999;1;yes", "8;;perhaps", "9;0.00000001;no",
        "10;1e13;no", "11;NaN;no", f"{'9' * 30};1;no", "9223372036854775807;1;no",
    ]  # fmt: skip
    bring(owner, "\n".join(body))

    bulk = BulkChange.objects.get()
    assert [row[0] for row in bulk.rows] == [service.pk]
    assert bulk.problems == [
        ["line 2", "1,5 in pinned_price is not a number."],
        ["line 3", "The column id doesn't hold the number of a service."],
        ["line 4", "This line doesn't have the columns of the first."],
        ["line 7", "This service is in the file twice."],
        ["line 9", "Write yes or no in the column sold."],
        ["line 10", "0.00000001 in pinned_price has too many decimals."],
        ["line 11", "1e13 in pinned_price is out of range."],
        ["line 12", "NaN in pinned_price is not a number."],
        ["line 13", "The column id doesn't hold the number of a service."],
        ["999", "There is no such service."],
        ["9223372036854775807", "There is no such service."],
    ]


@pytest.mark.parametrize(
    "body",
    [
        b" ", b"name,price\n1,2\n", b"\xff\xfe\x00i", b"id,cost\n1,2", b"id,sold,sold\n1,yes,no",
        b'id,sold\n1,"' + b"x" * 200_000, b"PK\x03\x04 and nothing that follows",
    ],
)  # fmt: skip
def test_a_file_that_is_no_price_list_is_refused(
    owner: Client, service: Service, body: bytes
) -> None:
    assert refusal(bring(owner, body))


def packed(parts: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return out.getvalue()


def with_part(name: str, change: Callable[[bytes], bytes]) -> bytes:
    """A workbook of one service with one of its parts replaced."""
    with zipfile.ZipFile(io.BytesIO(workbook([["id", "sold"], [1, "no"]]))) as archive:
        parts = {part: archive.read(part) for part in archive.namelist()}
    return packed({**parts, name: change(parts.get(name, b""))})


SHEET = "xl/worksheets/sheet1.xml"
LAUGHS = (
    b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]>'
    b"<worksheet><sheetData><row><c><v>&b;</v></c></row></sheetData></worksheet>"
)


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (lambda: with_part("xl/media/a.bin", lambda _: bytes(5_000_000)), "packed more tightly"),
        (lambda: packed({f"part{at}": b"" for at in range(300)}), "too large when it is unpacked"),
        (lambda: with_part(SHEET, lambda _: LAUGHS), "no XLSX that can be read"),
        (lambda: with_part(SHEET, lambda xml: xml[:200]), "no XLSX that can be read"),
        (lambda: with_part(SHEET, lambda _: b"not even XML"), "no XLSX that can be read"),
        (lambda: with_part("xl/workbook.xml", lambda _: b"<workbook/>"), "no XLSX that can be"),
        (lambda: with_part("[Content_Types].xml", lambda _: b""), "no XLSX that can be read"),
        (lambda: packed({"hello.txt": b"hello"}), "no XLSX that can be read"),
        (lambda: workbook([["id", "sold"], [1, "no"]])[:-30], "no XLSX that can be read"),
        (lambda: with_part(SHEET, lambda xml: xml.replace(b'r="2"', b'r="100002"')), "more than"),
    ],
)  # fmt: skip
def test_a_workbook_made_to_do_harm_is_refused_before_it_does(
    owner: Client, service: Service, body: Callable[[], bytes], sentence: str
) -> None:
    assert sentence in refusal(bring(owner, body(), "prices.xlsx"))


def test_what_a_workbook_unpacks_to_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    body = workbook([["id", "sold"], *([number, "no"] for number in range(200))])
    assert len(list(sheets.read_rows(body))) == 201
    for name, most in (("MOST_UNPACKED", 5_000), ("MOST_IN_MEMORY", 500)):
        with monkeypatch.context() as patch:
            patch.setattr(sheets, name, most)
            with pytest.raises(UnreadableFile, match="unpacked"):
                list(sheets.read_rows(body))
    monkeypatch.setattr(sheets, "MOST_ROWS", 150)
    with pytest.raises(UnreadableFile, match="more than 150"):
        list(sheets.read_rows(body))


def test_a_file_larger_than_is_read_is_refused(
    owner: Client, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("catalog.price_forms.MOST_BYTES", 100)

    assert "larger than 20 MB" in refusal(bring(owner, "id,sold\n" + "1,no\n" * 100))


def test_a_formula_counts_with_its_value_and_without_one_is_named(
    owner: Client, service: Service
) -> None:
    """Taken for an empty cell it would take the pinned price away."""
    Service.objects.update(pinned_rate=3, price_rate=3)
    rows: Rows = [["id", "pinned_price"], [service.pk, "=1+1"]]
    bring(owner, workbook(rows), "prices.xlsx")
    assert BulkChange.objects.get().problems == [
        ["line 2", "=1+1 in pinned_price is not a number."]
    ]

    with zipfile.ZipFile(io.BytesIO(workbook(rows))) as archive:
        parts = {part: archive.read(part) for part in archive.namelist()}
    assert b"<v />" in parts[SHEET]
    parts[SHEET] = parts[SHEET].replace(b"<v />", b"<v>4.25</v>")
    bring(owner, packed(parts), "prices.xlsx")
    assert BulkChange.objects.latest("pk").rows[0][2] == {"pinned_rate": ["3", "4.25"]}


def test_what_a_spreadsheet_makes_of_cells_is_read_as_it_was_meant(
    owner: Client, service: Service
) -> None:
    """A tenth as the double that it is, a truth value as yes, an ID with a point, a date as an error."""
    rows: Rows = [
        ["ID ", None, "Pinned_Price", "sold", "margin"],
        [float(service.pk), "note", 1.1 + 2.2, False],
        [None, None, None, None],
        [99, None, datetime(2026, 1, 2), True],  # noqa: DTZ001 - a cell has no zone
    ]
    bring(owner, workbook(rows), "prices.xlsx")

    bulk = BulkChange.objects.get()
    assert bulk.rows[0][2] == {"pinned_rate": [None, "3.3"], "is_sold": [True, False]}
    assert bulk.problems == [["line 4", "2026-01-02 00:00:00 in pinned_price is not a number."]]


def test_a_list_larger_than_a_statement_takes_is_planned_and_applied(
    owner: Client, staff: User, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changing, "_AT_ONCE", 3)
    Service.objects.bulk_create(
        Service(provider=service.provider, category=service.category, upstream_id=f"x{number}",
                name="Likes", order_type="default", cost_rate=1, price_rate=2, max_quantity=9)
        for number in range(10)
    )  # fmt: skip
    numbers = list(Service.objects.values_list("pk", flat=True))
    bring(owner, "id,markup_percent\n" + "\n".join(f"{number},70" for number in numbers))
    act(owner, BulkChange.objects.get(), "apply")

    assert set(Service.objects.values_list("price_rate", flat=True)) == {D("1.7")}


def test_who_may_only_look_exports_and_imports_nothing(
    client: Client, customer: User, service: Service
) -> None:
    clerk = User.objects.create_user("clerk@example.com", is_staff=True)
    clerk.user_permissions.set(Permission.objects.filter(codename="view_service"))
    client.force_login(clerk)
    assert export(client, "export_workbook")
    assert bring(client, f"id,sold\n{service.pk},no").status_code == 403
    client.force_login(customer)
    for name in ("export_list", "export_workbook"):
        assert client.get(reverse(f"admin:catalog_service_{name}")).status_code in (302, 403)
