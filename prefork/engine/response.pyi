from collections.abc import Iterator
from typing import Any

class FileWrapper:
    """``wsgi.file_wrapper`` (PEP 3333): sent with sendfile(2) where it can be, else block by block."""

    filelike: Any
    block_size: int
    def __init__(self, filelike: Any, block_size: int = 8192, /) -> None: ...
    def close(self) -> None: ...
    def __iter__(self) -> Iterator[bytes]: ...
    def __next__(self) -> bytes: ...

class Response:
    """One response on its way out."""

    def start_response(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        """PEP 3333 start_response. Returns write(data: bytes)."""

    def write(self, data: bytes, /) -> None:
        """PEP 3333 write(): send data at once."""

    def early_hints(self, headers: list[tuple[str, str]], /) -> None:
        """``wsgi.early_hints``: send a 103 response (RFC 8297)."""
