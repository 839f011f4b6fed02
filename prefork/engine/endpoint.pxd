from libc.stdint cimport uint16_t
from prefork.engine.connection cimport Connection
from prefork.engine.station cimport Station

cdef extern from "sys/socket.h" nogil:
    struct sockaddr_storage:
        uint16_t ss_family

cdef class Endpoint:
    cdef readonly Station station
    cdef readonly int descriptor
    cdef dict base
    cdef bint local            # a unix socket: peers have no address

    cdef Connection take(self, int descriptor, sockaddr_storage *address)
