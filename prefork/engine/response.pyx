# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False, binding=False
"""What the application says with start_response, checked to the letter and formatted once.

The response head is written straight into a buffer while it is checked; Connection adds the framing and
sends it with the first chunk. Sources: PEP 3333 ("The start_response() Callable"), RFC 9110 5 and 6.4.1,
RFC 9112 6.
"""
from cpython.list cimport PyList_GET_ITEM, PyList_GET_SIZE
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF, Py_XDECREF
from cpython.tuple cimport PyTuple_GET_ITEM, PyTuple_GET_SIZE
from libc.stdint cimport uint8_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy
from prefork.engine.station cimport Member

cdef extern from "Python.h":
    const uint8_t *PyUnicode_1BYTE_DATA(object text)
    Py_ssize_t PyUnicode_GET_LENGTH(object text)
    int PyUnicode_KIND(object text)
    bint PyUnicode_Check(object text)
    bint PyTuple_Check(object item)

cdef extern from "octets.h" nogil:
    bint octets_is_token(const uint8_t *text, size_t len)
    bint octets_is_value(const uint8_t *text, size_t len)
    bint octets_same(const uint8_t *text, const char *lower, size_t len)


# RFC 9110 7.6.1 and PEP 3333 "Other HTTP Features": about this connection, so not the application's to say.
cdef frozenset HOP_BY_HOP = frozenset((
    b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"te", b"trailer", b"trailers",
    b"transfer-encoding", b"upgrade",
))

cdef enum:
    NAMES = 128
    FIRST_SIZE = 2048    # bytes for a head, at first
    KEPT_SIZE = 16384    # larger ones are not kept between requests

cdef enum Kind:
    KIND_PLAIN = 0
    KIND_DATE
    KIND_SERVER
    KIND_LENGTH
    KIND_HOP

# One a process, so that a name is looked at closely only the first time. Applications use constants.
cdef Known names[NAMES]


cdef int classify(object name, const uint8_t *text, size_t size, Known *entry) except -1:
    """Check a header name and say what the server must do with it; remember that."""
    cdef int kind = KIND_PLAIN
    cdef PyObject *before
    if not octets_is_token(text, size):
        raise ValueError(f"start_response: header name {name!r} is not a token")
    if size == 4 and octets_same(text, b"date", 4):
        kind = KIND_DATE
    elif size == 6 and octets_same(text, b"server", 6):
        kind = KIND_SERVER
    elif size == 14 and octets_same(text, b"content-length", 14):
        kind = KIND_LENGTH
    elif text[:size].lower() in HOP_BY_HOP:
        kind = KIND_HOP
    if type(name) is str:
        Py_INCREF(name)
        before = entry.name
        entry.name = <PyObject *>name
        entry.kind = kind
        Py_XDECREF(before)
    return kind


cdef class FileWrapper:
    """``wsgi.file_wrapper`` (PEP 3333): the server sends it with sendfile(2) where it can, else block by block.

    filelike: anything with read(size); block_size: bytes a read.
    """

    def __init__(self, filelike, block_size=8192, /):
        self.filelike = filelike
        self.block_size = block_size
        self.shut = getattr(filelike, "close", None)

    def close(self):
        """Close the file, if it can be closed."""
        if self.shut is not None:
            self.shut()

    def __iter__(self):
        return self

    def __next__(self):
        data = self.filelike.read(self.block_size)
        if not data:
            raise StopIteration
        return data


cdef class Response:
    """One response on its way out; parked and used again once nobody outside holds its callables."""

    def __cinit__(self):
        self.head_size = FIRST_SIZE
        self.head = <char *>malloc(self.head_size)
        if self.head == NULL:
            raise MemoryError()

    def __init__(self):
        self.start_bound = self.start_response
        self.write_bound = self.write
        self.hints_bound = self.early_hints

    def __dealloc__(self):
        free(self.head)

    # --- called by Connection ---

    cdef void begin(self, Member sink):
        self.sink = sink
        self.headers = None
        self.status = 0
        self.head_len = 0
        self.sent = False

    cdef bint end(self):
        """Forget the request. True when this object may be parked: the application kept none of its callables.

        An application that calls a kept one later gets an error instead of another client's response.
        """
        cdef char *head
        self.sink = None
        self.headers = None
        if self.head_size > KEPT_SIZE:
            head = <char *>realloc(self.head, FIRST_SIZE)
            if head != NULL:
                self.head = head
                self.head_size = FIRST_SIZE
        # Looked at through pointers: a temporary reference would count.
        return (
            (<PyObject *>self.start_bound).ob_refcnt == 1
            and (<PyObject *>self.write_bound).ob_refcnt == 1
            and (<PyObject *>self.hints_bound).ob_refcnt == 1
        )

    cdef void unbind(self):
        """Let go of the callables: what is not parked must not be work for the collector, which may be off."""
        self.start_bound = self.write_bound = self.hints_bound = None

    # --- called by the application ---

    def start_response(self, status, headers, exc_info=None):
        """PEP 3333 start_response. Returns write(data: bytes).

        Raises TypeError or ValueError for a status or header that HTTP or PEP 3333 does not allow,
        AssertionError when called twice without exc_info, and the exception of exc_info when the
        head was sent already.
        """
        if self.sink is None:
            raise AssertionError("start_response called after the request was over")
        if exc_info is not None and exc_info:
            try:
                if self.sent:
                    if exc_info[1] is None:  # sys.exc_info() where nothing is being handled
                        raise AssertionError("start_response called with an empty exc_info after the head was sent")
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None
        elif self.status:
            raise AssertionError("start_response called a second time without exc_info")
        self.status = 0
        self.start(status, headers)
        return self.write_bound

    def write(self, data, /):
        """PEP 3333 write(): send data (bytes) at once.

        Raises BrokenPipeError when the client has left or takes nothing any more, ValueError behind the end of the
        response.
        """
        cdef int outcome
        if self.sink is None:
            raise AssertionError("write called after the request was over")
        outcome = self.sink.chunk(data)
        if outcome == 1:
            raise BrokenPipeError("the client is gone")
        if outcome:
            raise ValueError("write called after the end of the response")

    def early_hints(self, headers, /):
        """``wsgi.early_hints``: send a 103 response (RFC 8297) with headers, a list of (str, str)."""
        if self.sink is None:
            raise AssertionError("early_hints called after the request was over")
        self.sink.hint(list(headers))

    # --- the head ---

    cdef int start(self, object status, object headers) except -1:
        cdef Py_ssize_t i, n
        if type(headers) is not list:
            raise TypeError(f"start_response: headers must be a list, not {type(headers).__name__}")
        self.head_len = 0
        self.has_date = self.has_server = self.has_length = False
        cdef int code = self.status_line(status)
        self.status = code
        self.headers = <list>headers
        n = PyList_GET_SIZE(headers)
        try:
            for i in range(n):
                self.field(<object>PyList_GET_ITEM(headers, i))
        except BaseException:
            self.status = 0
            self.headers = None
            raise
        return 0

    cdef int status_line(self, object status) except -1:
        cdef const uint8_t *text
        cdef Py_ssize_t size
        cdef int code
        if status is self.last_status and status is not None:
            size = PyUnicode_GET_LENGTH(status)
            self.reserve(size + 11)
            text = PyUnicode_1BYTE_DATA(status)
            code = self.last_code
        else:
            if not PyUnicode_Check(status):
                raise TypeError(f"start_response: status must be a str, not {type(status).__name__}")
            size = PyUnicode_GET_LENGTH(status)
            if PyUnicode_KIND(status) != 1 or size < 4:
                raise ValueError(f"start_response: status {status!r} is not '<three digits> <reason>'")
            text = PyUnicode_1BYTE_DATA(status)
            if not (c'1' <= text[0] <= c'9' and c'0' <= text[1] <= c'9' and c'0' <= text[2] <= c'9' and text[3] == c' '):
                raise ValueError(f"start_response: status {status!r} is not '<three digits> <reason>'")
            if not octets_is_value(text, size):
                raise ValueError(f"start_response: status {status!r} holds a control character")
            code = (text[0] - c'0') * 100 + (text[1] - c'0') * 10 + text[2] - c'0'
            if code < 200:
                raise ValueError(f"start_response: {status!r} is not a final status (use wsgi.early_hints for 103)")
            self.reserve(size + 11)
            self.last_status = status if type(status) is str else None
            self.last_code = code
        memcpy(self.head, b"HTTP/1.1 ", 9)
        memcpy(self.head + 9, text, size)
        memcpy(self.head + 9 + size, b"\r\n", 2)
        self.head_len = size + 11
        return code

    cdef int field(self, object item) except -1:
        cdef object name, value
        cdef const uint8_t *name_text
        cdef const uint8_t *value_text
        cdef Py_ssize_t name_len, value_len
        cdef char *at
        cdef Known *entry
        cdef int kind
        if not PyTuple_Check(item) or PyTuple_GET_SIZE(item) != 2:
            raise TypeError(f"start_response: header {item!r} is not a (name, value) tuple")
        name = <object>PyTuple_GET_ITEM(item, 0)
        value = <object>PyTuple_GET_ITEM(item, 1)
        if not PyUnicode_Check(name) or not PyUnicode_Check(value):
            raise TypeError(f"start_response: header {item!r}: name and value must be str")
        if PyUnicode_KIND(name) != 1 or PyUnicode_KIND(value) != 1:
            raise ValueError(f"start_response: header {item!r} does not fit Latin-1")
        name_text = PyUnicode_1BYTE_DATA(name)
        name_len = PyUnicode_GET_LENGTH(name)
        value_text = PyUnicode_1BYTE_DATA(value)
        value_len = PyUnicode_GET_LENGTH(value)
        entry = &names[(<size_t><void *>name >> 5) & (NAMES - 1)]
        kind = entry.kind if entry.name == <PyObject *>name else classify(name, name_text, name_len, entry)
        if not octets_is_value(value_text, value_len):
            raise ValueError(f"start_response: header {name!r} holds a control character: {value!r}")
        if kind != KIND_PLAIN and self.special(kind, name, value_text, value_len):
            return 0
        self.reserve(name_len + value_len + 4)
        at = self.head + self.head_len
        memcpy(at, name_text, name_len)
        at += name_len
        at[0] = c':'
        at[1] = c' '
        at += 2
        memcpy(at, value_text, value_len)
        at += value_len
        at[0] = c'\r'
        at[1] = c'\n'
        self.head_len += name_len + value_len + 4
        return 0

    cdef int special(self, int kind, object name, const uint8_t *value, size_t value_len) except -1:
        """Fields that the server must know of. 1: leave the field out."""
        cdef uint64_t length = 0
        cdef size_t i
        if kind == KIND_DATE:
            self.has_date = True
        elif kind == KIND_SERVER:
            self.has_server = True
        elif kind == KIND_LENGTH:
            if value_len == 0 or value_len > 18:
                raise ValueError("start_response: Content-Length is not a decimal number")
            for i in range(value_len):
                if not c'0' <= value[i] <= c'9':
                    raise ValueError("start_response: Content-Length is not a decimal number")
                length = length * 10 + (value[i] - c'0')
            if self.has_length:
                raise ValueError("start_response: Content-Length given twice")
            self.has_length = True
            self.length = length
            # RFC 9110 8.6: no Content-Length in a 204. That of a 205 is the server's to say.
            return 1 if self.status == 204 or self.status == 205 else 0
        elif kind == KIND_HOP:
            raise ValueError(f"start_response: {name} is hop-by-hop: the server's own (PEP 3333)")
        return 0

    cdef int reserve(self, size_t size) except -1:
        """Make room for size more bytes and the server's own fields."""
        cdef char *head
        cdef size_t need = self.head_len + size + ROOM
        if need > self.head_size:
            head = <char *>realloc(self.head, need * 2)
            if head == NULL:
                raise MemoryError()
            self.head = head
            self.head_size = need * 2
        return 0

    cdef void put(self, const char *text, size_t size) noexcept:
        memcpy(self.head + self.head_len, text, size)
        self.head_len += size
