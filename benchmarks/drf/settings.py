"""Django's settings: persistent connections, no sessions, no pages."""

import os

DEBUG = False
SECRET_KEY = "only for benchmarks"
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "benchmarks.drf.urls"
INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "rest_framework",
    "django_filters",
    "benchmarks.drf",
]
MIDDLEWARE = ["django.middleware.common.CommonMiddleware"]  # it sends Content-Length
USE_TZ = True
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": os.environ["PGDATABASE"],
        "HOST": os.environ["PGHOST"],
        "PORT": os.environ["PGPORT"],
        "USER": os.environ["PGUSER"],
        "CONN_MAX_AGE": None,
        "OPTIONS": {"options": "-c search_path=drf,public"},
    }
}
REST_FRAMEWORK = {
    "DEFAULT_RENDERER_CLASSES": ["benchmarks.drf.renderer.OrjsonRenderer"],
    "DEFAULT_AUTHENTICATION_CLASSES": ["rest_framework.authentication.BasicAuthentication"],
}
