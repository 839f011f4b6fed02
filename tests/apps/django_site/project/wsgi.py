"""What the server runs: project.wsgi:application. `validated` is the same inside wsgiref.validate."""

import os
from wsgiref.validate import validator

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")

application = get_wsgi_application()
validated = validator(application)
