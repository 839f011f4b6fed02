"""One Django page as projects have them: the usual middlewares, a template with a loop, an escaped value."""

import django
from django.conf import settings

PAGE = """<!doctype html><html><head><title>{{ title }}</title></head><body><ul>
{% for row in rows %}<li class="{% cycle 'odd' 'even' %}">{{ row.name }}: {{ row.price|floatformat:2 }}</li>
{% endfor %}</ul></body></html>"""

settings.configure(
    DEBUG=False,
    SECRET_KEY="only for measuring",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
    INSTALLED_APPS=["django.contrib.sessions", "django.contrib.messages"],
    MIDDLEWARE=[
        "django.middleware.security.SecurityMiddleware",
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
        "django.middleware.clickjacking.XFrameOptionsMiddleware",
    ],
    TEMPLATES=[
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "OPTIONS": {
                "loaders": [
                    (
                        "django.template.loaders.cached.Loader",
                        [
                            (
                                "django.template.loaders.locmem.Loader",
                                {"page.html": PAGE},
                            )
                        ],
                    )
                ]
            },
        }
    ],
)
django.setup()

from django.core.wsgi import get_wsgi_application  # noqa: E402 - Django wants its settings first
from django.shortcuts import render  # noqa: E402
from django.urls import path  # noqa: E402

ROWS = [{"name": f"Item <{number}>", "price": number * 1.37} for number in range(20)]


def page(request):
    return render(request, "page.html", {"title": request.GET.get("q", "Catalogue"), "rows": ROWS})


urlpatterns = [path("", page)]
app = get_wsgi_application()
