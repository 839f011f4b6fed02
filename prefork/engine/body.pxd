from prefork.engine.station cimport Member
from libc.stdint cimport uint8_t, uint64_t

cdef class EmptyInput:
    pass

cdef class Body:
    cdef bytes memory        # its first `filled` bytes are the body so far; only we hold it
    cdef size_t filled
    cdef size_t capacity
    cdef int spool           # descriptor of an unlinked file, or -1
    cdef readonly uint64_t total
    cdef readonly bint large # finish() gave a file that somebody must close
    cdef uint64_t memory_limit
    cdef object open_spool

    cdef void begin(self, uint64_t expected, uint64_t memory_limit, object open_spool)
    cdef uint8_t *room(self, size_t *size) noexcept
    cdef int took(self, size_t size) except -1
    cdef int append(self, const uint8_t *data, size_t size) except -1
    cdef int grow(self, size_t least) except -1
    cdef object finish(self)
    cdef void discard(self) noexcept

cdef EmptyInput EMPTY_INPUT

cdef class Source:
    cdef Member member       # None: the request is over
    cdef tuple fault         # code and text of the BodyFault that reading has ended with, or None

cdef object make_stream(Source source)
