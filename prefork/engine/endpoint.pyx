# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False, binding=False
"""A listening socket as one worker sees it: who is accepted, and what is known of the client by then."""
from libc.errno cimport EMFILE, ENFILE, ENOBUFS, ENOMEM, errno
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t
from posix.unistd cimport close

from prefork.engine.connection cimport Connection
from prefork.engine.station cimport Station

cdef extern from "sys/socket.h" nogil:
    ctypedef unsigned int socklen_t
    struct sockaddr:
        pass
    int accept4(int listener, sockaddr *address, socklen_t *size, int flags)
    enum:
        AF_INET
        AF_INET6
        SOCK_NONBLOCK
        SOCK_CLOEXEC

cdef extern from "netinet/in.h" nogil:
    struct in_addr:
        uint32_t s_addr
    struct sockaddr_in:
        uint16_t sin_port
        in_addr sin_addr
    struct in6_addr:
        uint8_t s6_addr[16]
    struct sockaddr_in6:
        uint16_t sin6_port
        in6_addr sin6_addr
    uint16_t ntohs(uint16_t number)

cdef extern from "arpa/inet.h" nogil:
    const char *inet_ntop(int family, const void *address, char *out, socklen_t size)

cdef str EMPTY = ""


cdef class Endpoint:
    """A listening socket as one worker sees it. base: the environ keys that all its requests share."""

    def __init__(self, Station station, int descriptor, dict base, bint local):
        self.station = station
        self.descriptor = descriptor
        self.base = base
        self.local = local

    def lighter_sibling(self):
        """The slot of a sibling that should accept instead: idle, and holding at least two connections less; or -1."""
        cdef Station station = self.station
        cdef int sibling = station.scoreboard.idlest(station.worker)
        if sibling >= 0 and station.scoreboard.worker_slot(sibling).connections + 1 < station.slot.connections:
            return sibling
        return -1

    def accept(self):
        """The next client, or None when nobody waits. Raises OSError (EMFILE and kin) when out of descriptors."""
        cdef sockaddr_storage address
        cdef socklen_t size = sizeof(address)
        cdef int descriptor = accept4(
            self.descriptor, <sockaddr *>&address, &size, SOCK_NONBLOCK | SOCK_CLOEXEC
        )
        if descriptor < 0:
            if errno in (EMFILE, ENFILE, ENOBUFS, ENOMEM):
                self.station.exhausted = True
                raise OSError(errno, "accept")
            # EAGAIN: a sibling was faster. The rest are the client's network errors (man 2 accept): its loss.
            return None
        return self.take(descriptor, &address)

    def adopt(self, int descriptor):
        """A client on a connected socket that somebody else has made; it is non-blocking, and owned from now on.

        Only for an endpoint of unix sockets: its address is not looked at.
        """
        return self.take(descriptor, NULL)

    cdef Connection take(self, int descriptor, sockaddr_storage *address):
        cdef Connection connection
        try:
            connection = Connection.__new__(Connection)
        except MemoryError:
            close(descriptor)
            raise
        connection.descriptor = descriptor  # from here on it closes with the connection
        connection.station = self.station
        connection.base = self.base
        connection.local = self.local
        if self.local:
            connection.remote_addr = connection.remote_port = EMPTY
            connection.trusted = True
        else:
            connection.remote_addr, connection.remote_port = peer(address)
            connection.trusted = self.station.trusted(connection.remote_addr)
        self.station.slot.accepted += 1
        self.station.slot.connections += 1
        return connection


cdef tuple peer(sockaddr_storage *address):
    cdef char text[64]
    cdef str name
    if address.ss_family == AF_INET:
        inet_ntop(AF_INET, &(<sockaddr_in *>address).sin_addr, text, sizeof(text))
        return text.decode("ascii"), str(ntohs((<sockaddr_in *>address).sin_port))
    if address.ss_family == AF_INET6:
        inet_ntop(AF_INET6, &(<sockaddr_in6 *>address).sin6_addr, text, sizeof(text))
        name = text.decode("ascii")
        # A v4 client of a dual-stack listener: named as it would be anywhere else.
        if name.startswith("::ffff:") and "." in name:
            name = name[7:]
        return name, str(ntohs((<sockaddr_in6 *>address).sin6_port))
    return EMPTY, EMPTY
