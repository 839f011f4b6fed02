"""The app's pages."""

from django.urls import path

from files import views

urlpatterns = [
    path("", views.home),
    path("visits/", views.visits),
    path("upload/", views.upload),
    path("download/<int:key>/", views.download),
    path("memory/<int:size>/", views.from_memory),
    path("stream/<int:chunks>/", views.stream),
    path("stream-broken/", views.stream_broken),
    path("body/", views.body),
    path("meta/", views.meta),
    path("broken/", views.broken),
    path("nothing/", views.nothing),
    path("redirect/", views.redirect_home),
]
