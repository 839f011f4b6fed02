"""What `ps` shows."""

from __future__ import annotations

# Before the first fork: a worker may no longer be allowed to read the folder. It takes 0.5 ms.
try:
    from setproctitle import setproctitle
except ImportError:
    setproctitle = None  # type: ignore[assignment]


def set_title(role: str, name: str) -> None:
    """Show "prefork: master [name]". Without setproctitle nothing changes."""
    if setproctitle is not None:
        setproctitle(f"prefork: {role} [{name}]" if name else f"prefork: {role}")
