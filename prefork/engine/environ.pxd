from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from cpython.ref cimport PyObject
from prefork.engine.scan cimport scan_block, scan_field, scan_head

cdef enum:
    NAMES = 512          # slots of the intern table; a power of two
    NAME_SIZE = 46       # longer names are made anew each time
    VALUE_SIZE = 1024    # longer values are not remembered
    TARGETS = 64
    TARGET_SIZE = 256
    TEMPLATES = 8        # a power of two
    BLOCK_SIZE = 4096    # longer blocks of fields are not kept

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
    PyObject *target      # owned; NULL or a str whose bytes are the target as received
    PyObject *script_name # NULL: none is set, for any target
    PyObject *path
    PyObject *query

# Requests whose fields are the same bytes as those of one before: what these came to, once. The environ is that of
# the last such request before anybody saw it, and becomes the next one's where the two differ.
cdef class Template:
    cdef scan_block facts
    cdef bytes block                     # from behind the request line through the blank line
    cdef dict base
    cdef bint trusted
    cdef dict environ
    cdef object method
    cdef object target
    cdef object remote_addr
    cdef object remote_port

cdef class EnvironTable:
    cdef Name names[NAMES]
    cdef Target targets[TARGETS + 1]     # the last one is for targets that are too long to be remembered
    cdef list templates                  # or None, each
    cdef int template_hit                # where the last one was found
    cdef int template_next               # the one that makes way next
    cdef uint64_t blocks_seen[TEMPLATES] # what tells blocks apart (not surely), of the last ones that had no template
    cdef int block_next
    cdef dict secure_schemes             # "HTTP_X_FORWARDED_PROTO" -> b"https"
    cdef dict forwarder_names            # b"SCRIPT_NAME" -> "SCRIPT_NAME"
    cdef str script_name                 # or None
    cdef bint keep_underscores
    cdef bint refuse_underscores
    cdef object on_notice
    cdef set noticed

    cdef dict build(self, scan_head *head, const uint8_t *data, dict base, object remote_addr,
                    object remote_port, bint trusted, int *fault)
    cdef Template find(self, const uint8_t *block, size_t size, dict base, bint trusted)
    cdef dict build_like(self, Template like, scan_head *head, const uint8_t *data, object remote_addr, object remote_port)
    cdef int learn(self, scan_head *head, const uint8_t *data, dict environ, dict base, object remote_addr,
                   object remote_port, bint trusted) except -1
    cdef dict outline(self, scan_head *head, const uint8_t *data)
    cdef Name *lookup(self, const uint8_t *text, size_t length, Name *spare) except NULL
    cdef Target *target_of(self, scan_head *head, const uint8_t *data) except NULL
    cdef int join(self, dict environ, object key, object value, object before, int flags) except -1
    cdef void notice(self, str text) noexcept
    cdef int underscore(self, dict environ, scan_field *field, const uint8_t *data, bint trusted) except -1
