"""One table."""

from django.db import models


class Upload(models.Model):
    """A stored file and its SHA-256."""

    title = models.CharField(max_length=100)
    file = models.FileField(upload_to="uploads")
    digest = models.CharField(max_length=64, blank=True)
    made = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return self.title
