from libc.stdint cimport uint8_t, uint16_t, uint32_t
from cpython.ref cimport PyObject
from prefork.engine.scan cimport scan_head, scan_field

cdef enum:
    NAMES = 512          # slots of the intern table; a power of two
    NAME_SIZE = 46       # longer names are made anew each time
    VALUE_SIZE = 1024    # longer values are not remembered
    TARGETS = 64
    TARGET_SIZE = 256

cdef enum NameFlag:
    NAME_SECURE = 1      # one of the secure-scheme headers
    NAME_COOKIE = 2      # repeated fields join with "; " (RFC 9113 8.2.3), not ","

# One field name as clients spell it, its environ key, and the last value that came with it.
cdef struct Name:
    uint16_t length      # 0: free
    uint8_t flags
    char text[NAME_SIZE]
    PyObject *key        # owned
    PyObject *value      # owned; NULL or a str whose Latin-1 bytes are the last value

cdef struct Target:
    PyObject *target     # owned; NULL or a str whose bytes are the target as received
    PyObject *path
    PyObject *query

cdef class EnvironTable:
    cdef Name names[NAMES]
    cdef Target targets[TARGETS]
    cdef dict secure_schemes             # "HTTP_X_FORWARDED_PROTO" -> b"https"
    cdef dict forwarder_names            # b"SCRIPT_NAME" -> "SCRIPT_NAME"
    cdef str script_name                 # or None
    cdef bint keep_underscores
    cdef bint refuse_underscores
    cdef object on_notice
    cdef set noticed

    cdef dict build(self, scan_head *head, const uint8_t *data, dict base, object remote_addr,
                    object remote_port, bint trusted, int *fault)
    cdef dict outline(self, scan_head *head, const uint8_t *data)
    cdef Name *lookup(self, const uint8_t *text, size_t length, Name *spare) except NULL
    cdef int place_target(self, dict environ, scan_head *head, const uint8_t *data) except -1
    cdef int join(self, dict environ, object key, object value, object before, int flags) except -1
    cdef void notice(self, str text) noexcept
    cdef int underscore(self, dict environ, scan_field *field, const uint8_t *data, bint trusted) except -1
