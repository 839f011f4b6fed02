"""Every exception of prefork, and the table that says what a refused request is answered.

Rules: an exception carries what its catcher can act on, and `str()` of it is one readable line;
`cli.main` prints that line and exits with `exit_code`. What a client did wrong is no exception at all:
the engine hands out a fault code, and `FAULTS` turns it into status and text.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType


def traceback_of(fault: BaseException, trace: TracebackType | None) -> str:
    """The exception and its chain with their frames, from `trace` on, as the interpreter prints it.

    Never raises. To format may run what is not ours: Python 3.15 imports the package that a missing module
    should lie in, and raises what that raises; an exception may have attributes that raise.
    """
    from traceback import format_exception, format_tb

    try:
        return "".join(format_exception(type(fault), fault, trace))
    except Exception:
        pass  # without the chain, and what the interpreter would add
    try:
        frames = "".join(format_tb(trace))
    except Exception as broken:  # RecursionError; no memory
        frames = f"  (its traceback cannot be formatted: {type(broken).__qualname__})\n"
    try:
        text = f": {fault}"
    except Exception as broken:
        text = f" (it cannot be shown: {type(broken).__qualname__})"
    return f"Traceback (most recent call last):\n{frames}{type(fault).__qualname__}{text}\n"


class PreforkError(Exception):
    """Whatever ends a command of prefork with one line and an exit code."""

    exit_code = 1


class ConfigError(PreforkError):
    """A setting that cannot be served. Nothing was started.

    setting: its name, or "" where the fault is not one setting's.  value: as it was given.
    origin: where it came from, in words ("command line, --workers").  allowed: what it may be.
    problem: what is wrong, where "must be ..." does not say it.  meant: what was probably meant.
    Whoever finds the fault may not know the origin; who does adds it: the line is made when it is read.
    """

    exit_code = 2

    def __init__(
        self,
        problem: str = "",
        *,
        setting: str = "",
        value: object = None,
        origin: str = "",
        allowed: str = "",
        meant: str = "",
    ) -> None:
        super().__init__(problem)
        self.problem = problem
        self.setting = setting
        self.value = value
        self.origin = origin
        self.allowed = allowed
        self.meant = meant

    def __str__(self) -> str:
        must = f"must be {self.allowed}" if self.allowed else ""
        hint = f"did you mean {self.meant}?" if self.meant else ""
        words = "; ".join(part for part in (self.problem, must, hint) if part)
        if self.setting and self.value is not None:
            subject = f"{self.setting} = {_shown(self.value)}"
        else:
            subject = self.setting
        if self.origin:
            subject = f"{subject} ({self.origin})" if subject else self.origin
        return _one_line(f"{subject}: {words}" if subject else words)


class BindError(PreforkError):
    """An address that cannot be listened on: in use, forbidden, not of this machine."""


class AppLoadError(PreforkError):
    """The application cannot be had. The line says what was imported, from where, what failed and what was
    probably meant; `detail` is the traceback's text, or "" where it would say no more than the line."""

    exit_code = 4

    def __init__(self, message: str, detail: str = "") -> None:
        super().__init__(message)
        self.detail = detail


class BootError(PreforkError):
    """A worker of the first generation could not boot for a reason other than the application's import."""

    exit_code = 3

    def __init__(self, message: str, detail: str = "") -> None:
        super().__init__(message)
        self.detail = detail


class OlderError(PreforkError):
    """A running server's prefork is older than the command that asks it, and cannot say what is wanted."""


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 120 else text[:117] + "..."


def _one_line(text: str) -> str:
    return " ".join(text.split())


# Status phrases of the answers that the server gives by itself (RFC 9110 15, RFC 6585 5).
PHRASES = {
    400: "Bad Request",
    408: "Request Timeout",
    413: "Content Too Large",
    414: "URI Too Long",
    417: "Expectation Failed",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    501: "Not Implemented",
    503: "Service Unavailable",
    504: "Gateway Timeout",
    505: "HTTP Version Not Supported",
}


class Fault:
    """Why a request was refused: one row of FAULTS.

    name: for logs and metrics ("bare_lf").  status, reason: of the status line.
    text: one sentence for the client and the log; it never repeats what the client sent.
    """

    __slots__ = ("name", "reason", "status", "text")

    def __init__(self, name: str, status: int, text: str) -> None:
        self.name = name
        self.status = status
        self.reason = PHRASES[status]
        self.text = text

    def __repr__(self) -> str:
        return f"Fault({self.name!r}, {self.status}, {self.text!r})"


# In the order of scan_fault in engine/scan.h (1 is the first fault); a test compares names and statuses.
_SCANNER = (
    Fault("method", 400, "The method is not a token of at most 32 bytes."),
    Fault("target", 400, "The request target has a forbidden byte or no known form."),
    Fault("target_too_long", 414, "The request line is longer than the server accepts."),
    Fault("version", 400, "The request line does not end in HTTP/1.0 or HTTP/1.1."),
    Fault("version_unknown", 505, "Only HTTP/1.0 and HTTP/1.1 are served here."),
    Fault("bare_lf", 400, "A line ends in LF without CR."),
    Fault("bare_cr", 400, "CR without LF."),
    Fault("field_name", 400, "A field name is not a token directly followed by a colon."),
    Fault("field_value", 400, "A field value has a control byte."),
    Fault("folding", 400, "A field is folded over several lines."),
    Fault("field_too_large", 431, "A field is larger than the server accepts."),
    Fault("too_many_fields", 431, "The head has more fields than the server accepts."),
    Fault("head_too_large", 431, "The head is larger than the server accepts."),
    Fault("host_missing", 400, "HTTP/1.1 requires a Host field."),
    Fault("host_repeated", 400, "There is more than one Host field."),
    Fault("host", 400, "The host is not valid."),
    Fault("length", 400, "Content-Length is not one decimal number."),
    Fault("length_repeated", 400, "There is more than one Content-Length field."),
    Fault("length_and_coding", 400, "Content-Length and Transfer-Encoding exclude each other."),
    Fault("coding", 400, "Transfer-Encoding is malformed: chunked must be given once and last."),
    Fault("coding_unknown", 501, "The only transfer coding known here is chunked."),
    Fault("coding_in_10", 400, "HTTP/1.0 has no Transfer-Encoding."),
    Fault("type_repeated", 400, "There is more than one Content-Type field."),
    Fault("expectation", 417, "The only expectation known here is 100-continue."),
    Fault("chunk_size", 400, "A chunk size is not a hexadecimal number."),
    Fault("chunk_extension", 400, "A chunk extension is malformed or too long."),
    Fault("chunk_end", 400, "A chunk does not end where its size says."),
    Fault("chunk_overhead", 400, "The chunks carry more framing than data."),
    Fault("trailer", 400, "A trailer field is malformed."),
    Fault("trailer_forbidden", 400, "A field that frames or routes the request came as a trailer."),
    Fault("trailer_too_large", 431, "The trailers are larger than the server accepts."),
)

# What the engine finds out beside the grammar. The numbers are its own, far above the scanner's.
BODY_TOO_LARGE = 64
HEAD_TIMEOUT = 65
BODY_TIMEOUT = 66
APP_FAULT = 67
OVERLOADED = 68
REQUEST_TIMEOUT = 69
SPOOL_FAILED = 70
SCHEME_CONFLICT = 71
UNDERSCORE = 72
CONNECT = 73
PROXY_PROTOCOL = 74
TLS = 75

# Not a client's slip, but a proxy or port that somebody has set wrong: an operator wants to know of it.
MISDIRECTED = frozenset((PROXY_PROTOCOL, TLS))

FAULTS: dict[int, Fault] = {
    **dict(enumerate(_SCANNER, 1)),
    BODY_TOO_LARGE: Fault("body_too_large", 413, "The request body is larger than the server accepts."),
    HEAD_TIMEOUT: Fault("head_timeout", 408, "The head of the request did not arrive in time."),
    BODY_TIMEOUT: Fault("body_timeout", 408, "The body of the request did not arrive in time."),
    APP_FAULT: Fault("app_fault", 500, "The application failed."),
    OVERLOADED: Fault("overloaded", 503, "The server is overloaded."),
    REQUEST_TIMEOUT: Fault("request_timeout", 504, "The application did not answer in time."),
    SCHEME_CONFLICT: Fault("scheme_conflict", 400, "The proxy's fields about https contradict each other."),
    UNDERSCORE: Fault("underscore", 400, "A field name holds '_' (--header-map refuse)."),
    CONNECT: Fault("connect", 501, "This is no proxy: CONNECT is not served."),
    PROXY_PROTOCOL: Fault(
        "proxy_protocol", 400, "The PROXY protocol is not spoken here; a proxy may send X-Forwarded-For."
    ),
    TLS: Fault("tls", 400, "TLS is not spoken here, only plain HTTP; a proxy in front may do it."),
    SPOOL_FAILED: Fault("spool_failed", 503, "The server cannot store the request body now."),
}
