from cpython.ref cimport PyObject
from libc.stdint cimport int64_t, uint8_t, uint64_t
from prefork.engine.station cimport Member

cdef enum:
    ROOM = 512          # bytes behind the application's fields for the server's own

# A header name seen before: its str is held, so the same address is the same name.
cdef struct Known:
    PyObject *name
    int kind

cdef class FileWrapper:
    cdef readonly object filelike
    cdef readonly Py_ssize_t block_size
    cdef object shut    # filelike.close, or None

cdef class Response:
    # process: made once, parked between requests
    cdef object start_bound    # what the application calls; only we may hold it when parked
    cdef object write_bound
    cdef object hints_bound
    cdef object last_status    # the last status str and its line, checked once
    cdef int last_code
    cdef char *head
    cdef size_t head_len
    cdef size_t head_size
    # request
    cdef Member sink           # None when parked
    cdef list headers
    cdef int status            # 0: start_response was not called
    cdef bint sent             # the head is on its way and cannot change
    cdef bint has_date
    cdef bint has_server
    cdef bint has_length
    cdef uint64_t length

    cdef void begin(self, Member sink)
    cdef bint end(self)
    cdef void unbind(self)
    cdef int start(self, object status, object headers) except -1
    cdef int status_line(self, object status) except -1
    cdef int field(self, object item) except -1
    cdef int special(self, int kind, object name, const uint8_t *value, size_t value_len) except -1
    cdef int reserve(self, size_t size) except -1
    cdef void put(self, const char *text, size_t size) noexcept
