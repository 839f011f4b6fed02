"""prefork: a pre-fork production WSGI server."""

# pyproject.toml reads it from here; importlib.metadata would cost every start 15 ms.
__version__ = "0.1.0"
