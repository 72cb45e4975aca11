# mypy: disable-error-code="import-untyped, misc"
"""Our lookups and orders find the same rows in the same order as those of django-filter on the same data."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from httpx import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.engine import make_url

from tests.api.conftest import SOURCES, Add, As

django: Any = pytest.importorskip("django")
filters: Any = pytest.importorskip("django_filters")

NAMES = [
    "Elevation", "elevation", "ELEVATION model", "100%", "100 percent", "a_b", "axb", "back\\slash", "Ünïcode",
    "ünïcode", "straße", "STRASSE", " padded ", "comma, separated", "quote'd", 'double"d', "x", "İstanbul", "日本",
]  # fmt: skip
CODES = [None, "", "A", "a", "B_1", "b%2", "(x)"]
START = datetime(2024, 1, 1, tzinfo=UTC)
TEXT_LOOKUPS = (
    "exact", "iexact", "contains", "icontains", "startswith", "istartswith", "endswith", "iendswith", "in",
)  # fmt: skip
TIME_LOOKUPS = ("exact", "lt", "lte", "gt", "gte")
TIMES = ("created", "last_modified", "first_value_timestamp", "last_value_timestamp")
ORDERS = ("name", "supplier_code", "size", "last_modified", "created", "id")


@pytest.fixture(scope="module")
def rows(add_source: Add) -> list[Any]:
    """Add sources with names, codes and times for which lookups differ."""
    return [
        add_source(
            name,
            organisation=f"Organisation {number % 3} %",
            supplier_code=CODES[number % len(CODES)],
            size=number % 5,
            created=START + timedelta(hours=number % 4),
            first_value_timestamp=START + timedelta(minutes=number),
            last_value_timestamp=START + timedelta(minutes=number + 1),
        )
        for number, name in enumerate(NAMES)
    ]


@pytest.fixture(scope="module")
def oracle(database_url: str, rows: list[Any]) -> Callable[[dict[str, str]], list[str]]:
    """Return the names that django-filter finds for a query."""
    url = make_url(database_url)
    from django.conf import settings as configured

    database = {"ENGINE": "django.db.backends.postgresql", "NAME": url.database, "USER": url.username,
                "PASSWORD": url.password or "", "HOST": url.query.get("host", url.host),
                "PORT": url.port or ""}  # fmt: skip
    configured.configure(DATABASES={"default": database}, INSTALLED_APPS=["django_filters"], USE_TZ=True,
                         TIME_ZONE="UTC", DEFAULT_AUTO_FIELD="django.db.models.BigAutoField")  # fmt: skip
    django.setup()
    filterset = make_filterset()

    def find(query: dict[str, str]) -> list[str]:
        filtered = filterset(query, queryset=filterset.Meta.model.objects.all())
        assert filtered.is_valid(), filtered.errors
        return [row.name for row in filtered.qs]

    return find


def make_model() -> Any:
    """Make a Django model of our table."""
    from django.db import models

    class Organisation(models.Model):
        uuid = models.UUIDField()
        name = models.TextField()

        class Meta:
            managed, db_table, app_label = False, "organisations", "oracle"

    class RasterSource(models.Model):
        uuid = models.UUIDField()
        name = models.TextField()
        organisation = models.ForeignKey(Organisation, on_delete=models.PROTECT)
        supplier_code = models.TextField(null=True)
        size = models.BigIntegerField()
        created = models.DateTimeField()
        last_modified = models.DateTimeField()
        first_value_timestamp = models.DateTimeField()
        last_value_timestamp = models.DateTimeField()

        class Meta:
            managed, db_table, app_label = False, "raster_sources", "oracle"

    return RasterSource


def make_filterset() -> Any:
    """Make the filters of django-filter for our table."""
    from django.db.models import F

    class Texts(filters.BaseInFilter, filters.CharFilter):
        pass

    class Uuids(filters.BaseInFilter, filters.UUIDFilter):
        pass

    class Ordering(filters.OrderingFilter):
        def filter(self, qs: Any, value: Any) -> Any:
            keys = [F(name.lstrip("-")) for name in value or ["id"]]
            directed = [
                item.desc(nulls_last=True) if name.startswith("-") else item.asc(nulls_last=True)
                for item, name in zip(keys, value or ["id"], strict=True)
            ]
            return qs.order_by(*directed, "id")

    def text(field: str) -> dict[str, Any]:
        lookups = {f"{field}__{lookup}": filters.CharFilter(field_name=field, lookup_expr=lookup)
                for lookup in TEXT_LOOKUPS if lookup != "in"}  # fmt: skip
        return {**lookups, f"{field}__in": Texts(field_name=field, lookup_expr="in")}

    def time(field: str) -> dict[str, Any]:
        return {f"{field}__{lookup}": filters.IsoDateTimeFilter(field_name=field, lookup_expr=lookup)
                for lookup in TIME_LOOKUPS}  # fmt: skip

    declared: dict[str, Any] = {"uuid": Uuids(field_name="uuid", lookup_expr="in")}
    for field in ("name", "supplier_code", "organisation__name"):
        declared |= text(field)
    for field in TIMES:
        declared |= time(field)
    declared["supplier_code__isnull"] = filters.BooleanFilter(
        field_name="supplier_code", lookup_expr="isnull"
    )
    declared["ordering"] = Ordering(fields=[(name, name) for name in ORDERS])
    declared["Meta"] = type("Meta", (), {"model": make_model(), "fields": []})
    return type("Filters", (filters.FilterSet,), declared)


def find_names(client: Client, query: dict[str, str]) -> list[str]:
    """Return the names that the API finds for a query."""
    page = client.get(SOURCES, params={"page_size": "1000", **query})
    assert page.status_code == 200, page.text
    return [item["name"] for item in page.json()["results"]]


parts = st.sampled_from([*NAMES, "Organisation 1 %"]).flatmap(
    lambda name: st.tuples(st.integers(0, len(name)), st.integers(0, len(name))).map(
        lambda ends: name[min(ends) : max(ends)]
    )
)
texts = (
    st.sampled_from([*NAMES, "A", "b", "%", "_", "\\", "é", "SS", "ß", "Organisation 1 %"])
    | parts
    | st.text("aAbB%_\\ .*'\"é,\t\x1f\x85\u3000", max_size=4)
).filter(lambda text: "\x00" not in text)
timestamps = st.sampled_from(
    [START + timedelta(minutes=minutes) for minutes in range(0, 300, 7)]
).map(lambda timestamp: timestamp.isoformat().replace("+00:00", "Z"))
fields = st.sampled_from(["name", "supplier_code", "organisation__name"])
text_queries = st.builds(lambda field, lookup, value: {f"{field}__{lookup}": value},
                         fields, st.sampled_from(TEXT_LOOKUPS), texts).filter(
    # Django reads an empty part between commas as an empty text; we ignore it, because uuids may end with a comma.
    lambda query: all(part.strip() for name, text in query.items() if name.endswith("__in") for part in text.split(","))
)  # fmt: skip
time_queries = st.builds(lambda field, lookup, value: {f"{field}__{lookup}": value},
                         st.sampled_from(TIMES), st.sampled_from(TIME_LOOKUPS), timestamps)  # fmt: skip
orderings = st.lists(
    st.builds(lambda sign, name: sign + name, st.sampled_from(["", "-"]), st.sampled_from(ORDERS)),
    max_size=3, unique_by=lambda name: name.lstrip("-"),
).map(lambda names: {"ordering": ",".join(names)} if names else {})  # fmt: skip
null_queries = st.sampled_from(
    [{}, {"supplier_code__isnull": "true"}, {"supplier_code__isnull": "false"}]
)
LIMITS = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@LIMITS
@given(
    text=text_queries | st.just({}),
    time=time_queries | st.just({}),
    null=null_queries,
    order=orderings,
)
def test_lookups_and_orders_find_what_django_finds(
    client: Client,
    oracle: Callable[[dict[str, str]], list[str]],
    text: dict[str, str],
    time: dict[str, str],
    null: dict[str, str],
    order: dict[str, str],
) -> None:
    query = text | time | null | order
    expected = oracle(query)
    assert find_names(client, query) == expected


@pytest.mark.usefixtures("oracle")
@pytest.mark.parametrize(
    "value", ["a", " a b\t", "\u3000a\x85", "", " ", "\n", None, 5, 1.5, True, [], "a\0", "x" * 255, "x" * 256]
)  # fmt: skip
def test_texts_are_validated_as_by_django_rest_framework(
    as_: As, owner: str, value: object
) -> None:
    serializers: Any = pytest.importorskip("rest_framework.serializers")
    name = serializers.CharField(max_length=255)
    description = serializers.CharField(allow_blank=True, allow_null=True)
    for field, serializer in (("name", name), ("description", description)):
        answer = as_("admin").post(SOURCES, json={"name": "a", "organisation": owner, field: value})
        try:
            expected = 201, serializer.run_validation(value)
        except serializers.ValidationError as error:
            expected = 400, error.detail
        body = answer.json()
        assert (answer.status_code, body.get("detail", body)[field]) == expected
        if answer.status_code == 201:
            as_("admin").delete(body["url"])


def test_uuids_find_what_django_finds(
    client: Client, oracle: Callable[[dict[str, str]], list[str]], rows: list[Any]
) -> None:
    for chosen in ([rows[0].uuid], [rows[3].uuid, rows[1].uuid], [UUID(int=0)]):
        for text in (",".join(map(str, chosen)), ",".join(str(item).upper() for item in chosen)):
            assert find_names(client, {"uuid": text}) == oracle({"uuid": text})
