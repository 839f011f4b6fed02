"""A Django app: put "prefork.django" into INSTALLED_APPS, and `manage.py runprefork` serves the project.

Nothing here runs in a server that was started as `prefork project.wsgi:application`.
"""
