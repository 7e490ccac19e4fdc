from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import DataError, IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from catalog.bulk import CHUNK, insert_rows, update_rows
from catalog.models import Category, Provider, Service

NASTY = """'; DROP TABLE catalog_service; -- "quoted" %s {} \\ \u0085 🔥 <script>"""


def test_rows_are_inserted_with_the_defaults_of_the_other_columns(service: Service) -> None:
    columns = ["provider_id", "category_id", "upstream_id", "name", "cost_rate", "price_rate"]
    row = [service.provider_id, service.category_id, "2", NASTY]

    insert_rows(Service, columns, [[*row, Decimal("0.1234567"), Decimal("99999999.1234567")]])

    made = Service.objects.get(upstream_id="2")
    assert made.name == NASTY
    assert (made.cost_rate, made.price_rate) == (Decimal("0.1234567"), Decimal("99999999.1234567"))
    assert made.pinned_rate is None
    assert made.is_sold
    assert timezone.now() - made.created_at < timedelta(minutes=1)


def test_a_row_that_is_there_already_is_left_out(service: Service) -> None:
    insert_rows(Category, ["name"], [["Followers"], ["Likes"]])

    assert sorted(Category.objects.values_list("name", flat=True)) == ["Followers", "Likes"]


def test_only_the_named_columns_of_the_named_rows_change(service: Service) -> None:
    other = Category.objects.create(name="Other")
    now = timezone.now()

    update_rows(
        Service, ["category_id", "refill", "changed_at"], [(service.pk, other.pk, False, now)]
    )

    before = {field.attname: getattr(service, field.attname) for field in Service._meta.fields}
    after = Service.objects.filter(pk=service.pk).values(*before).get()
    assert after == before | {"category_id": other.pk, "refill": False, "changed_at": now}


def test_null_is_written_as_null(service: Service) -> None:
    update_rows(Service, ["pinned_rate"], [(service.pk, Decimal(5))])
    update_rows(Service, ["pinned_rate"], [(service.pk, None)])

    service.refresh_from_db()
    assert service.pinned_rate is None


def test_the_database_s_own_rules_hold(service: Service) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        update_rows(Service, ["price_rate"], [(service.pk, Decimal(0))])

    service.refresh_from_db()
    assert service.price_rate == 2


@pytest.mark.postgres
def test_a_text_that_is_too_long_is_an_error_and_not_cut(service: Service) -> None:
    with pytest.raises(DataError), transaction.atomic():
        update_rows(Service, ["name"], [(service.pk, "x" * 501)])


def test_no_rows_are_no_query_and_many_are_one_per_chunk(provider: Provider) -> None:
    with CaptureQueriesContext(connection) as queries:
        insert_rows(Category, ["name"], [])
        update_rows(Category, ["position"], [])
        insert_rows(Category, ["name"], ([f"Category {at}"] for at in range(CHUNK + 1)))

    assert len(queries) == 2
    assert Category.objects.count() == CHUNK + 1


def test_a_row_that_was_moved_since_it_was_read_is_left_alone(service: Service) -> None:
    other = Service.objects.create(
        provider=service.provider, category=service.category, upstream_id="2", name="Likes",
        type="Default", cost_rate=1, price_rate=2,
    )  # fmt: skip

    written = update_rows(
        Service,
        ["name", "type"],
        [(service.pk, service.name, "New", "Package"), (other.pk, "Read before", "New", "Package")],
        unmoved=["name"],
    )

    assert written == {service.pk}
    assert Service.objects.get(pk=service.pk).type == "Package"
    assert Service.objects.get(pk=other.pk).name == "Likes"


def test_what_a_column_encrypts_is_encrypted_here_too(provider: Provider) -> None:
    columns = ["name", "url", "api_key"]
    insert_rows(Provider, columns, [["Other", "https://x.example", "secret-of-this-test"]])
    update_rows(Provider, ["api_key"], [(provider.pk, "another-secret")])

    with connection.cursor() as cursor:
        cursor.execute("SELECT api_key FROM catalog_provider")
        stored = " ".join(key for (key,) in cursor.fetchall())
    assert "secret" not in stored
    assert sorted(Provider.objects.values_list("api_key", flat=True)) == [
        "another-secret",
        "secret-of-this-test",
    ]
