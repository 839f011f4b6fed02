"""Access log formats: text with gunicorn's atoms in it, or `json`, and what each atom says.

A compiled format is a list of pieces (source, lowest, text, key, other): `source` is 0 for the literal `text`
or the atom's letter, for which accesslog.pyx has a getter; `lowest` is the lowest byte written as it is;
`key` and `other` are environ keys in the order in which they are tried.
"""

from sys import intern

LITERAL = 0
AS_IT_IS = 0x20
# A space is escaped too, where it would add a column to a line that is split at spaces.
NO_SPACE = 0x21

Piece = tuple[int, int, bytes, str | None, str | None]

# atom: (source, lowest, environ key, meaning)
_ATOMS: dict[str, tuple[str, int, str | None, str]] = {
    "h": ("h", NO_SPACE, "REMOTE_ADDR", "address of the peer; - on a unix socket"),
    "l": ("", AS_IT_IS, None, "-, where the Common Log Format has an identity"),
    "u": ("u", NO_SPACE, None, "user name of HTTP Basic authentication"),
    "t": ("t", AS_IT_IS, None, "local time when the line is made: [21/Nov/2026:13:00:00 +0000]"),
    "r": ("r", AS_IT_IS, None, "request line: method, target as received, protocol"),
    "m": ("e", NO_SPACE, "REQUEST_METHOD", "method"),
    "U": ("e", NO_SPACE, "PATH_INFO", "path, decoded, without the query"),
    "q": ("e", NO_SPACE, "QUERY_STRING", "query, without the ?"),
    "H": ("e", NO_SPACE, "SERVER_PROTOCOL", "protocol"),
    "s": ("s", AS_IT_IS, None, "status as sent; - when the client left before an answer"),
    "B": ("B", AS_IT_IS, None, "bytes of response body sent"),
    "b": ("b", AS_IT_IS, None, "bytes of response body sent, - for none (Common Log Format)"),
    "I": ("I", AS_IT_IS, None, "bytes of request body"),
    "f": ("e", AS_IT_IS, "HTTP_REFERER", "referrer"),
    "a": ("e", AS_IT_IS, "HTTP_USER_AGENT", "user agent"),
    "T": ("T", AS_IT_IS, None, "request time in seconds, from the whole request to the last byte sent"),
    "M": ("M", AS_IT_IS, None, "request time in milliseconds"),
    "D": ("D", AS_IT_IS, None, "request time in microseconds"),
    "L": ("L", AS_IT_IS, None, "request time in seconds with six decimals"),
    "Q": ("Q", AS_IT_IS, None, "queue time in microseconds: how long the request waited for this worker"),
    "A": ("A", AS_IT_IS, None, "application time in microseconds, until it gave its last chunk"),
    "p": ("p", AS_IT_IS, None, "process id: <123>"),
    "{name}i": ("e", AS_IT_IS, None, "request header"),
    "{name}o": ("o", AS_IT_IS, None, "response header of the application, the last one of that name"),
    "{name}e": ("e", AS_IT_IS, None, "environ variable: text, or a number"),
}

# For the documentation: atom -> meaning.
ATOMS = {atom: row[3] for atom, row in _ATOMS.items()}

# What %(atom)d may follow.
_NUMBERS = ("s", "B", "I", "T", "M", "D", "Q", "A")

# member: (source, environ key, meaning)
_MEMBERS: dict[str, tuple[str, str | None, str]] = {
    "time": ("t", None, "local time when the line is made, RFC 3339 with milliseconds"),
    "remote": ("h", "REMOTE_ADDR", "address of the peer"),
    "user": ("u", None, "user name of HTTP Basic authentication"),
    "method": ("e", "REQUEST_METHOD", "method"),
    "host": ("e", "HTTP_HOST", "Host header"),
    "target": ("e", "RAW_URI", "target as received"),
    "protocol": ("e", "SERVER_PROTOCOL", "protocol"),
    "status": ("s", None, "status as sent"),
    "sent": ("B", None, "bytes of response body sent"),
    "received": ("I", None, "bytes of request body"),
    "referer": ("e", "HTTP_REFERER", "referrer"),
    "user_agent": ("e", "HTTP_USER_AGENT", "user agent"),
    "request_us": ("D", None, "request time in microseconds, from the whole request to the last byte sent"),
    "app_us": ("A", None, "application time in microseconds, until it gave its last chunk"),
    "queue_us": ("Q", None, "queue time in microseconds: how long the request waited for this worker"),
    "pid": ("p", None, "process id"),
}

# The members of every JSON line, in this order, null where there is nothing to say; name -> meaning.
JSON_FIELDS = {name: row[2] for name, row in _MEMBERS.items()}


def compile_format(format: str) -> list[Piece]:
    """Return the pieces of `json`, or of a text with %(atom)s in it.

    ValueError, in one line, for an unknown atom, for a conversion other than s (or d after a number), and for
    a control character other than tab.
    """
    if format == "json":
        return _compile_json()
    for letter in format:
        if (letter < " " and letter != "\t") or letter == "\x7f":
            raise ValueError(f"the access log format holds the control character {letter!r}")
    pieces: list[Piece] = []
    text, at = "", 0
    while (mark := format.find("%", at)) >= 0:
        text += format[at:mark]
        if format.startswith("%%", mark):
            text, at = text + "%", mark + 2
            continue
        end = format.find(")", mark)
        if not format.startswith("%(", mark) or end < 0 or end + 1 == len(format):
            raise ValueError(
                f"the access log format has a % that begins no %(atom)s: {format[mark : mark + 24]!r}"
            )
        atom, at = format[mark + 2 : end], end + 2
        piece = _compile_atom(atom)
        if format[end + 1] != "s" and not (format[end + 1] == "d" and atom in _NUMBERS):
            raise ValueError(f"the access log format has {format[mark:at]!r} where only %({atom})s is known")
        if piece[0] == LITERAL:
            text += "-"
            continue
        if text:
            pieces.append(_literal(text))
        text = ""
        pieces.append(piece)
    pieces.append(_literal(text + format[at:] + "\n"))
    return pieces


def _compile_json() -> list[Piece]:
    pieces: list[Piece] = []
    for name, (source, key, _) in _MEMBERS.items():
        pieces.append(_literal(f'{"," if pieces else "{"}"{name}":'))
        pieces.append((ord(source), AS_IT_IS, b"", key and intern(key), None))
    pieces.append(_literal("}\n"))
    return pieces


def _compile_atom(atom: str) -> Piece:
    name, kind = "", atom
    if len(atom) > 3 and atom[0] == "{" and atom[-2] == "}":
        name, kind = atom[1:-2], "{name}" + atom[-1]
    if kind not in _ATOMS or (not name and kind[0] == "{"):
        raise ValueError(
            f"the access log format has the unknown atom %({atom})s; known are {', '.join(_ATOMS)}"
        )
    source, lowest, key, _ = _ATOMS[kind]
    other = None
    if kind == "{name}i":
        key = name.upper().replace("-", "_")
        if key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            key = f"HTTP_{key}"
    elif kind == "{name}e":
        # gunicorn wants these names in lower case; PEP 3333 has them in upper case, but for wsgi.*
        key, other = name, name.upper()
    text = name.lower().encode() if source == "o" else b""
    return ord(source) if source else LITERAL, lowest, text, key and intern(key), other and intern(other)


def _literal(text: str) -> Piece:
    return LITERAL, AS_IT_IS, text.encode(), None, None
