"""The one table, as `makemigrations` writes it."""

from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True
    dependencies = ()
    operations = (
        migrations.CreateModel(
            name="Upload",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("title", models.CharField(max_length=100)),
                ("file", models.FileField(upload_to="uploads")),
                ("digest", models.CharField(blank=True, max_length=64)),
                ("made", models.DateTimeField(auto_now_add=True)),
            ],
        ),
    )
