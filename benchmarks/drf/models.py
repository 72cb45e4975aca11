"""The tables of benchmarks/sql/drf.sql."""

from django.contrib.postgres.fields import ArrayField
from django.db import models


class AccessModifier(models.IntegerChoices):
    PUBLIC = 0, "Public"
    COMMON = 100, "Common"
    PRIVATE = 200, "Private"


class Organisation(models.Model):
    uuid = models.UUIDField()
    name = models.TextField()

    class Meta:
        managed = False
        db_table = "organisation"


class RasterSource(models.Model):
    uuid = models.UUIDField()
    name = models.CharField(max_length=255)
    description = models.TextField(null=True)
    organisation = models.ForeignKey(Organisation, on_delete=models.PROTECT)
    access_modifier = models.SmallIntegerField(choices=AccessModifier)
    supplier = models.CharField(max_length=150, null=True)
    supplier_code = models.CharField(max_length=255, null=True)
    temporal = models.BooleanField()
    interval = models.DurationField(null=True)
    first_value_timestamp = models.DateTimeField(null=True)
    last_value_timestamp = models.DateTimeField(null=True)
    west = models.FloatField(null=True)
    south = models.FloatField(null=True)
    east = models.FloatField(null=True)
    north = models.FloatField(null=True)
    projection = models.CharField(max_length=32, null=True)
    origin_x = models.FloatField(null=True)
    origin_y = models.FloatField(null=True)
    upper_bound_x = models.FloatField(null=True)
    upper_bound_y = models.FloatField(null=True)
    pixelsize_x = models.FloatField(null=True)
    pixelsize_y = models.FloatField(null=True)
    created = models.DateTimeField()
    last_modified = models.DateTimeField()
    layers = ArrayField(models.UUIDField())
    labeltypes = ArrayField(models.UUIDField())
    size = models.BigIntegerField(null=True)
    dtype = models.CharField(max_length=8, null=True)
    fill_value = models.CharField(max_length=64, null=True)

    class Meta:
        managed = False
        db_table = "raster_source"
        ordering = ["id"]
