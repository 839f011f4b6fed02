from libc.stdint cimport uint16_t, uint32_t
from prefork.engine.responder cimport Responder
from prefork.engine.station cimport Station

cdef extern from "sys/socket.h" nogil:
    struct sockaddr_storage:
        uint16_t ss_family

cdef class Connection(Responder)

cdef class Endpoint:
    cdef readonly Station station
    cdef readonly int descriptor
    cdef dict base
    cdef bint local            # a unix socket: peers have no address

    cdef Connection take(self, int descriptor, sockaddr_storage *address)

cdef class Connection(Responder):
    cpdef int turn(self, uint32_t events) except -1
    cpdef int run(self, bint apart=*) except -1
    cpdef bint retire(self) except -1
    cpdef bint quiet(self) except -1
    cpdef int abandon(self) except -1
    cdef int note_request(self) except -1
    cdef int settle(self) except -1
    cdef int finish(self) except -1
