from libc.stdint cimport uint8_t, uint16_t
from prefork.engine.connection cimport Connection
from prefork.engine.station cimport Station

cdef extern from "sys/socket.h" nogil:
    struct sockaddr_storage:
        uint16_t ss_family

cdef enum Halt:
    HALT_OVER = 0       # as many as may be accepted in one turn, or for as long
    HALT_EMPTY = 1      # nobody waits
    HALT_LIGHTER = 2    # `sibling` should accept
    HALT_EXHAUSTED = 3  # no descriptor is left
    HALT_FULL = 4       # no room, or somebody else was given a request: there may be none now
    HALT_LOST = 5       # the reactor is another thread's now

cdef class Endpoint:
    cdef readonly Station station
    cdef readonly int descriptor
    cdef dict base
    cdef bint local            # a unix socket: peers have no address
    cdef public bint patient   # the sibling had its chance: accept one client regardless
    cdef readonly int sibling  # whom the last serve() would leave the next client to
    cdef public int left       # clients that may be accepted in this turn
    cdef public int owed       # so many of them however long it lasts
    cdef bint empty            # the last serve() ended there, and the listener was watched since
    # the last client's host
    cdef uint8_t host[16]
    cdef size_t host_size      # 0: none is known
    cdef str host_name
    cdef bint host_trusted

    cdef int lighter(self) noexcept
    cdef int next(self, sockaddr_storage *address) noexcept
    cdef Connection take(self, int descriptor, sockaddr_storage *address)
    cdef int name_peer(self, Connection connection, sockaddr_storage *address) except -1
