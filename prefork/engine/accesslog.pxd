# One line a request, formatted here and written in batches.
from cpython.ref cimport PyObject
from libc.stdint cimport int64_t, uint64_t

from prefork.engine.exchange cimport Exchange

# Where a line is being put.
cdef struct Line:
    char *at
    char *end
    bint cut                 # something did not fit
    bint json                # text is quoted and escaped as JSON, what is missing is null

# One piece of a compiled format (accessformat.py); what it points to is kept by AccessLog.compiled.
cdef struct Piece:
    int source               # 0: the literal `text`; else the atom's letter
    int lowest
    const char *text
    size_t size
    PyObject *key
    PyObject *other

cdef class AccessLog:
    cdef readonly size_t pending           # bytes formatted and not yet written
    cdef readonly int fd                   # as given; it stays the caller's
    cdef readonly int error                # errno of the last write; 0: it went well
    cdef readonly uint64_t dropped         # lines given up, ever
    cdef readonly str format

    # Append one line. environ is None when the request could not be parsed; headers is the response's
    # list of (str, str) or None; remote is the peer's address (str), used where environ has none.
    # Never raises for what a client or an application gave; -1 only for MemoryError.
    cdef int record(self, Exchange *exchange, dict environ, list headers, object remote) except -1

    # The rest is AccessLog's own.
    cdef char *buffer
    cdef Piece *pieces
    cdef int count
    cdef list compiled
    cdef bint json
    cdef int way                           # accesslog.pyx: enum Way
    cdef size_t slice_limit                # of one write, where lines are shorter
    cdef int private_fd                    # an open description of ours on a pipe or terminal, or -1
    cdef bint midline                      # what was written last ended inside a line
    cdef int64_t failed_at                 # coarse monotonic ns of the last write that failed
    cdef int64_t dropped_at                # and of the last line given up
    cdef uint64_t dropped_before           # `dropped` when the trouble began
    cdef bint troubled
    cdef int64_t second                    # the second that stamp says
    cdef char[64] stamp
    cdef size_t stamp_size

    cdef void begin(self, Line *line) noexcept
    cdef void put_line(self, Line *line, const Exchange *exchange, dict environ, list headers, object remote) noexcept
    cdef void put_time(self, Line *line) noexcept
    cdef void drop(self) noexcept
    cdef bint write_out(self) noexcept
    cdef ssize_t write_slice(self, const char *data, size_t size) noexcept
    cdef void attach(self, int fd) noexcept
    cdef void detach(self) noexcept
