from libc.stdint cimport int64_t, uint8_t
from prefork.engine.environ cimport Template
from prefork.engine.intake cimport Intake
from prefork.engine.scan cimport scan_head

cdef enum:
    NOTABLE_NS = 1000000  # a request that has waited less than this has not waited

cdef class Receiver(Intake):
    # connection
    cdef dict base             # the environ keys that all requests of the listener share
    cdef bint local            # a unix socket: the peer has no address
    cdef bint prompt           # accepted as soon as it came
    cdef bint trusted          # the peer's forwarded fields are believed
    cdef object remote_port
    cdef scan_head *partial    # a head scanned in part
    # request
    cdef bint asked_close      # the client wants the connection closed

    cdef int read(self) except -1
    cdef int look(self, const uint8_t *data, size_t size) except -1
    cdef int begin(self, scan_head *head, const uint8_t *data, size_t size, Template like) except -1
    cdef int64_t waited(self) noexcept
    cdef bint left(self) noexcept
    cdef bint turn_away(self) except -1
    cdef void free_partial(self) noexcept
