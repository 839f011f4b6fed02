"""The access log; see accesslog.pyx."""

from typing import Any, final

@final
class AccessLog:
    @property
    def pending(self) -> int: ...
    @property
    def fd(self) -> int: ...
    @property
    def error(self) -> int: ...
    @property
    def dropped(self) -> int: ...
    @property
    def format(self) -> str: ...
    def __new__(cls, format: str, fd: int) -> AccessLog: ...
    def flush(self) -> bool: ...
    def reopen(self, fd: int) -> None: ...
    def trouble(self, calm: float = 10.0) -> str | None: ...
    def record_for_test(
        self,
        environ: dict[str, Any] | None,
        headers: list[tuple[str, str]] | None = None,
        remote: str | None = None,
        *,
        status: int = 200,
        begin_ns: int = 1,
        app_ns: int = 1,
        end_ns: int = 1,
        queue_ns: int = 0,
        body_in: int = 0,
        body_out: int = 0,
    ) -> None: ...
