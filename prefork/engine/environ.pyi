from collections.abc import Callable, Iterable
from typing import Any

def roomy(source: dict[str, Any]) -> dict[str, Any]:
    """A copy of source with room for 40 keys; copies of it keep that room."""

class EnvironTable:
    """Makes environs for one worker; remembers names and values that clients repeat."""

    def __init__(
        self,
        secure_schemes: dict[str, str],
        forwarder_names: Iterable[str],
        header_map: str,
        script_name: str,
        on_notice: Callable[[str], None],
    ) -> None: ...
