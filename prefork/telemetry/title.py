"""What `ps` shows."""

from __future__ import annotations


def set_title(role: str, name: str) -> None:
    """Show "prefork: master [name]". Without setproctitle, or where it does not work, nothing changes."""
    try:
        from setproctitle import setproctitle
    except ImportError:
        return
    setproctitle(f"prefork: {role} [{name}]" if name else f"prefork: {role}")
