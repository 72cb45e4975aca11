"""The paths of the service, as in the API of Lizard."""

from django.urls import include, path
from rest_framework.routers import SimpleRouter

from benchmarks.drf.views import RasterSources

router = SimpleRouter()
router.register("rastersources", RasterSources)
urlpatterns = [path("api/v4/", include(router.urls))]
