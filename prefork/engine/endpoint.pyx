# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False, binding=False
"""A listening socket as one worker sees it: accepting, the first turn of each client, and who the client is.

What is decided for every client is decided here. What is not (no room, a sibling that should accept, no descriptor
left) ends the loop of `serve`, and whoever called it decides.
"""
from libc.errno cimport EMFILE, ENFILE, ENOBUFS, ENOMEM, errno
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy
from posix.unistd cimport close

from prefork.engine.client cimport GONE, KEEP, LOST
from prefork.engine.connection cimport Connection, make_connection
from prefork.engine.station cimport LATE_NS, Station, monotonic_ns

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

cdef extern from "octets.h" nogil:
    size_t octets_decimal(char *out, uint64_t number)

cdef extern from "Python.h":
    str PyUnicode_DecodeLatin1(const char *text, Py_ssize_t size, const char *errors)

cdef str EMPTY = ""


cdef class Endpoint:
    """A listening socket as one worker sees it. base: the environ keys that all its requests share."""

    def __cinit__(self, Station station not None, int descriptor, dict base not None, bint local):
        self.station = station
        self.descriptor = descriptor
        self.base = base
        self.local = local

    def serve(self, int room, settle):
        """Accept clients, at most `room` and `left`, and give each its first turn. Returns why that ended, a Halt.

        settle: called with (connection, outcome) where one is not done and does not wait for its client either; true
        when this thread has lost the reactor. At most one is settled a call: it may change what there is room for.
        """
        cdef Station station = self.station
        cdef sockaddr_storage address
        cdef Connection connection
        cdef int descriptor, outcome
        # Nobody waited when this worker last looked, and the look was not long ago: whoever is here came since.
        # (Under gevent others have had the thread since.)
        cdef bint prompt = self.empty and not station.lagged and station.wait_readable is None
        self.empty = False
        while self.left > 0:
            # A signal handler may have let go of the listeners while a request ran: the number may be another's.
            if room <= 0 or station.closed:
                return HALT_FULL
            room -= 1
            self.left -= 1
            if self.patient:
                self.patient = False
            else:
                self.sibling = self.lighter()
                if self.sibling >= 0:
                    return HALT_LIGHTER
            descriptor = self.next(&address)
            if descriptor == -EMFILE:
                return HALT_EXHAUSTED
            if descriptor < 0:
                self.empty = True
                return HALT_EMPTY
            connection = self.take(descriptor, &address)
            connection.prompt = prompt
            outcome = connection.turn(0)
            if outcome != KEEP and outcome != GONE:
                if settle(connection, outcome):
                    return HALT_LOST
                return HALT_FULL
            self.owed -= 1
            if self.owed <= 0 and monotonic_ns() - station.ready_ns > LATE_NS:
                break
        return HALT_OVER

    def watched(self):
        """The listener is watched from now on; how long those have waited who are here, nobody knows."""
        self.empty = False

    def accept(self):
        """The next client, or None when nobody waits. Raises OSError (EMFILE and kin) when out of descriptors."""
        cdef sockaddr_storage address
        cdef int descriptor = self.next(&address)
        if descriptor == -EMFILE:
            raise OSError(errno, "accept")
        return None if descriptor < 0 else self.take(descriptor, &address)

    def adopt(self, int descriptor):
        """A client on a connected socket that somebody else has made; it is non-blocking, and owned from now on.

        Only for an endpoint of unix sockets: its address is not looked at.
        """
        if not self.local:
            raise ValueError("only an endpoint of unix sockets adopts")
        return self.take(descriptor, NULL)

    cdef int lighter(self) noexcept:
        """The slot of a sibling that should accept instead: idle, and holding at least two connections less; or -1."""
        cdef Station station = self.station
        cdef int sibling
        if station.slot.connections < 2:
            return -1
        sibling = station.scoreboard.idlest(station.worker)
        if sibling >= 0 and station.scoreboard.worker_slot(sibling).connections + 1 < station.slot.connections:
            return sibling
        return -1

    cdef int next(self, sockaddr_storage *address) noexcept:
        """The descriptor of the next client; -EMFILE: there is none left for it; else below 0: nobody waits."""
        cdef socklen_t size = sizeof(sockaddr_storage)
        cdef int descriptor = accept4(self.descriptor, <sockaddr *>address, &size, SOCK_NONBLOCK | SOCK_CLOEXEC)
        if descriptor >= 0:
            return descriptor
        if errno in (EMFILE, ENFILE, ENOBUFS, ENOMEM):
            self.station.exhausted = True
            return -EMFILE
        # EAGAIN: a sibling was faster. The rest are the client's network errors (man 2 accept): its loss.
        return -1

    cdef Connection take(self, int descriptor, sockaddr_storage *address):
        cdef Connection connection
        try:
            connection = make_connection()
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
            self.name_peer(connection, address)
        self.station.slot.accepted += 1
        self.station.slot.connections += 1
        return connection

    cdef int name_peer(self, Connection connection, sockaddr_storage *address) except -1:
        """Many clients have one address: a proxy's, or their own of a moment ago."""
        cdef const void *host
        cdef size_t size
        cdef uint16_t port
        cdef char text[8]
        if address.ss_family == AF_INET:
            host = &(<sockaddr_in *>address).sin_addr
            size = 4
            port = (<sockaddr_in *>address).sin_port
        elif address.ss_family == AF_INET6:
            host = &(<sockaddr_in6 *>address).sin6_addr
            size = 16
            port = (<sockaddr_in6 *>address).sin6_port
        else:
            connection.remote_addr = connection.remote_port = EMPTY
            connection.trusted = self.station.trusted(EMPTY)
            return 0
        if size != self.host_size or memcmp(host, self.host, size) != 0:
            self.host_size = 0  # until all is known: trusted() may raise
            self.host_name = host_name(address.ss_family, host)
            self.host_trusted = self.station.trusted(self.host_name)
            memcpy(self.host, host, size)
            self.host_size = size
        connection.remote_addr = self.host_name
        connection.trusted = self.host_trusted
        connection.remote_port = PyUnicode_DecodeLatin1(text, octets_decimal(text, ntohs(port)), NULL)
        return 0


cdef str host_name(int family, const void *host):
    cdef char text[64]
    cdef str name
    inet_ntop(family, host, text, sizeof(text))
    name = text.decode("ascii")
    # A v4 client of a dual-stack listener: named as it would be anywhere else.
    if name.startswith("::ffff:") and "." in name:
        name = name[7:]
    return name
