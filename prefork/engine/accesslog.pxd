# One line a request, formatted here and written in batches.
from libc.stdint cimport int64_t
from prefork.engine.exchange cimport Exchange

cdef class AccessLog:
    cdef readonly size_t pending           # bytes formatted and not yet written

    # Append one line. environ is None when the request could not be parsed; headers is the response's
    # list of (str, str) or None. Never raises for what a client sent; -1 only for MemoryError.
    cdef int record(self, Exchange *exchange, dict environ, list headers, object remote) except -1
