"""The list of raster sources as Django REST Framework makes it, made fast by one join, orjson and indexes."""

from django.db.models import BooleanField, Func, QuerySet, Value
from django_filters import rest_framework as filters
from rest_framework.exceptions import ParseError
from rest_framework.filters import OrderingFilter
from rest_framework.pagination import PageNumberPagination
from rest_framework.permissions import AllowAny
from rest_framework.serializers import CharField, ModelSerializer, SerializerMethodField
from rest_framework.viewsets import ReadOnlyModelViewSet

from benchmarks.drf.models import AccessModifier, Organisation, RasterSource

TEXT = ["exact", "contains", "icontains", "startswith", "istartswith", "endswith", "iendswith"]
TIME = ["exact", "lt", "lte", "gt", "gte"]


class Pages(PageNumberPagination):
    page_size = 10
    page_size_query_param = "page_size"
    max_page_size = 1000


class OrganisationSerializer(ModelSerializer):
    url = SerializerMethodField()

    class Meta:
        model = Organisation
        fields = ["url", "uuid", "name"]

    def get_url(self, organisation: Organisation) -> str:
        return self.context["request"].build_absolute_uri(
            f"/api/v4/organisations/{organisation.uuid}/"
        )


class RasterSourceSerializer(ModelSerializer):
    url = SerializerMethodField()
    organisation = OrganisationSerializer()
    access_modifier = CharField(source="get_access_modifier_display")
    spatial_bounds = SerializerMethodField()
    writable = SerializerMethodField()
    layers = SerializerMethodField()

    class Meta:
        model = RasterSource
        fields = [
            "id", "uuid", "url", "name", "description", "organisation", "access_modifier", "supplier", "supplier_code",
            "temporal", "interval", "first_value_timestamp", "last_value_timestamp", "spatial_bounds", "projection",
            "origin_x", "origin_y", "upper_bound_x", "upper_bound_y", "pixelsize_x", "pixelsize_y", "created",
            "last_modified", "writable", "layers", "labeltypes", "size", "dtype", "fill_value",
        ]  # fmt: skip

    def get_url(self, source: RasterSource) -> str:
        return self._absolute(f"/api/v4/rastersources/{source.uuid}/")

    def get_spatial_bounds(self, source: RasterSource) -> dict[str, float] | None:
        if source.west is None:
            return None
        return {
            "west": source.west,
            "east": source.east,
            "north": source.north,
            "south": source.south,
        }

    def get_writable(self, _: RasterSource) -> bool:
        return False

    def get_layers(self, source: RasterSource) -> list[str]:
        return [self._absolute(f"/api/v4/rasters/{uuid}/") for uuid in source.layers]

    def _absolute(self, path: str) -> str:
        return self.context["request"].build_absolute_uri(path)


class InBox(Func):
    """The condition that the bounds of a raster source meet a box."""

    # && alone compares in single precision, and finds sources that lie just outside.
    template = "ST_Intersects(bounds, ST_MakeEnvelope(%(expressions)s, 4326))"
    output_field = BooleanField()


class RasterSourceFilter(filters.FilterSet):
    organisation__uuid = filters.UUIDFilter()
    in_bbox = filters.CharFilter(method="filter_box")

    class Meta:
        model = RasterSource
        fields = {
            "uuid": ["exact"],
            "name": TEXT,
            "supplier_code": TEXT,
            "first_value_timestamp": TIME,
            "last_value_timestamp": TIME,
            "created": TIME,
            "last_modified": TIME,
        }

    def filter_box(self, sources: QuerySet, _: str, text: str) -> QuerySet:
        try:
            west, south, east, north = map(float, text.split(","))
        except ValueError as error:
            raise ParseError("in_bbox needs four numbers") from error
        return sources.filter(InBox(*map(Value, (west, south, east, north))))


class RasterSources(ReadOnlyModelViewSet):
    queryset = RasterSource.objects.select_related("organisation")
    serializer_class = RasterSourceSerializer
    pagination_class = Pages
    permission_classes = [AllowAny]
    lookup_field = "uuid"
    filter_backends = [filters.DjangoFilterBackend, OrderingFilter]
    filterset_class = RasterSourceFilter
    ordering_fields = ["name", "supplier_code", "size", "last_modified"]

    def get_queryset(self) -> QuerySet:
        sources = super().get_queryset()
        return (
            sources
            if self.request.user.is_authenticated
            else sources.filter(access_modifier=AccessModifier.PUBLIC)
        )
