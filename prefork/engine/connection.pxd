from libc.stdint cimport uint32_t
from prefork.engine.responder cimport Responder

cdef class Connection(Responder):
    cpdef int turn(self, uint32_t events) except -1
    cpdef int run(self, bint apart=*) except -1
    cpdef bint retire(self) except -1
    cpdef bint quiet(self) except -1
    cpdef int abandon(self) except -1
    cdef int note_request(self) except -1
    cdef int settle(self) except -1
    cdef int finish(self) except -1

cdef Connection make_connection()
