"""Types of the scanner's Python face; the grammar and its limits stand in scan.h. Sizes are bytes."""

from typing import Final, NamedTuple

from typing_extensions import Buffer

FIELDS_MAX: Final[int]
"""The most fields one head may have, whatever the limit asked for."""

FAULTS: Final[dict[int, str]]
"""scan.h's fault codes and their names, as in errors.py ("bare_lf")."""

FORMS: Final[dict[int, str]]
KINDS: Final[dict[int, str]]

class Fault(Exception):
    """The bytes were refused: `code` and its `name` say why, `at` is the offset of the byte at fault.

    `method` and `target` name the request as far as its first line was understood.
    """

    code: int
    at: int
    name: str
    method: bytes
    target: bytes
    def __init__(self, code: int, at: int, method: bytes = b"", target: bytes = b"") -> None: ...

class Field(NamedTuple):
    name: bytes
    value: bytes
    kind: str
    underscore: bool

class Head(NamedTuple):
    """A whole request head. `head_len` counts its bytes, blank line included; `length` may be None."""

    method: bytes
    target: bytes
    form: str
    path: bytes
    query: bytes
    authority: bytes
    minor: int
    fields: tuple[Field, ...]
    chunked: bool
    length: int | None
    keep_alive: bool
    expect_continue: bool
    upgrade: bool
    head_len: int

def scan_head(
    data: Buffer,
    *,
    head_size: int = 65536,
    line_size: int = 4094,
    field_size: int = 8190,
    field_count: int = 100,
) -> Head | None:
    """Scan one head at the start of data; None when more bytes are needed. Raises Fault."""

class HeadScanner:
    """One head that comes in pieces."""

    def __init__(
        self, *, head_size: int = 65536, line_size: int = 4094, field_size: int = 8190, field_count: int = 100
    ) -> None: ...
    @property
    def looked(self) -> int:
        """Bytes that will not be searched again."""

    def feed(self, data: Buffer) -> Head | None:
        """Go on with these bytes behind those fed before (kept by the scanner)."""

    def scan(self, buffer: Buffer) -> Head | None:
        """Go on with a buffer that begins with the bytes of the call before. Not to be mixed with feed."""

class ChunkScanner:
    """One chunked body that comes in pieces."""

    def __init__(self, *, trailer_size: int = 8192) -> None: ...
    @property
    def done(self) -> bool:
        """The last chunk and its trailers are over."""

    @property
    def used(self) -> int:
        """Bytes consumed so far; those fed behind them belong to the next request."""

    @property
    def total(self) -> int:
        """Bytes of data so far."""

    def feed(self, buffer: Buffer) -> bytes:
        """Go on with the next bytes; the data that was in them. Raises Fault."""
