"""The table in the admin site."""

from django.contrib import admin

from files.models import Upload

admin.site.register(Upload)
