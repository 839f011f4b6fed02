# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False, binding=False
"""From a client's bytes to a whole request: head, environ, and what is pipelined behind.

A request that breaks the rules or a limit is refused here, and never reaches the application.
"""
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memcpy, memset
from prefork.engine.client cimport CLOSED, GONE, HEAD, KEEP, OPEN, READY, WAITING
from prefork.engine.environ cimport Template
from prefork.engine.intake cimport Intake
from prefork.engine.scan cimport (
    FORM_AUTHORITY, FORM_ORIGIN, SCAN_DONE, SCAN_FAULTY, SCAN_MORE, scan_block_apply, scan_head, scan_head_begin,
    scan_head_line, scan_head_run, scan_status,
)
from prefork.engine.station cimport WAIT_HEAD, WAIT_IDLE, Station, monotonic_ns, unlink

cdef extern from "sys/socket.h" nogil:
    ctypedef unsigned int socklen_t
    ssize_t recv(int descriptor, void *data, size_t size, int flags)
    int getsockopt(int descriptor, int level, int option, void *value, socklen_t *size)
    enum:
        MSG_PEEK

cdef extern from "netinet/in.h" nogil:
    enum:
        IPPROTO_TCP

cdef extern from "netinet/tcp.h" nogil:
    struct tcp_info:
        uint8_t tcpi_state
        uint32_t tcpi_last_data_recv
    enum:
        TCP_CLOSE
        TCP_CLOSE_WAIT
        TCP_INFO

cdef extern from "sys/epoll.h" nogil:
    enum:
        EPOLLIN

cdef extern from *:
    """
    #include <stddef.h>
    #define prefork_head_used(h) (offsetof(scan_head, fields) + (size_t)(h)->field_count * sizeof(scan_field))
    """
    size_t prefork_head_used(scan_head *head) nogil

# Engine fault codes that the scanner does not know (prefork/errors.py).
cdef enum:
    FAULT_BODY_TOO_LARGE = 64
    FAULT_OVERLOADED = 68
    FAULT_CONNECT = 73
    FAULT_PROXY_PROTOCOL = 74
    FAULT_TLS = 75

cdef enum:
    TICK_MS = 10             # the kernel counts that in ticks: what is not more may be nothing
    PATIENCE_NS = 100000000  # what a client is sure to wait; behind it, the end of its side means that it has left


cdef const char *PROXY_2 = b"\r\n\r\n\0\r\nQUIT\n"


cdef class Receiver(Intake):
    """A Client that makes requests."""

    def __dealloc__(self):
        free(self.partial)

    cdef int read(self) except -1:
        cdef Station station = self.station
        cdef uint8_t *into
        cdef size_t room
        cdef ssize_t n
        if self.fresh:
            self.fresh = False
            return self.look(self.saved + self.saved_from, self.saved_to - self.saved_from)
        if self.saved != NULL:
            self.save(NULL, 4096)
            into = self.saved + self.saved_to
            room = self.saved_size - self.saved_to
        else:
            into = station.buffer
            room = station.buffer_size
        n = recv(self.descriptor, into, room, 0)
        if n > 0:
            if self.saved == NULL:
                return self.look(into, n)
            self.saved_to += n
            return self.look(self.saved + self.saved_from, self.saved_to - self.saved_from)
        if n < 0 and errno in (EAGAIN, EINTR):
            if self.interest == 0:
                # Freshly accepted, nothing here yet.
                self.watch(EPOLLIN)
                station.enqueue(self, WAIT_HEAD)
            return KEEP
        if self.state == HEAD:
            station.slot.statuses[0] += 1
        return self.drop()

    cdef int look(self, const uint8_t *data, size_t size) except -1:
        """Bytes of a head, as far as they are here."""
        cdef Station station = self.station
        cdef scan_head *head = self.partial
        cdef scan_status found = SCAN_MORE
        cdef Template like = None
        cdef int outcome
        if head == NULL:
            head = &station.head
            scan_head_begin(head)
            memset(&self.exchange, 0, sizeof(self.exchange))
            self.head_only = False
            if scan_head_line(head, data, size, &station.limits) == SCAN_DONE and head.form == FORM_ORIGIN:
                like = station.environs.find(data + head.fields_at, size - head.fields_at, self.base, self.trusted)
                if like is not None and scan_block_apply(&like.facts, head, &station.limits):
                    found = SCAN_DONE
                else:
                    like = None
        if found != SCAN_DONE:
            found = scan_head_run(head, data, size, &station.limits)
        if found == SCAN_DONE:
            outcome = self.begin(head, data, size, like)
            self.free_partial()
            return outcome
        if found == SCAN_FAULTY:
            self.exchange.minor = head.minor
            self.environ = station.environs.outline(head, data)
            self.head_only = head.target_len and head.method_len == 4 and memcmp(data + head.method, b"HEAD", 4) == 0
            outcome = misdirected(data, size) or head.fault
            self.free_partial()
            return self.refuse(outcome)
        if self.partial == NULL:
            self.partial = <scan_head *>malloc(sizeof(scan_head))
            if self.partial == NULL:
                raise MemoryError()
            memcpy(self.partial, head, prefork_head_used(head))
        if self.saved == NULL:
            self.save(data, size)
        if self.state == OPEN:
            self.move(HEAD)
            if self.interest == 0:
                self.watch(EPOLLIN)
            station.enqueue(self, WAIT_HEAD)
        return KEEP

    cdef int begin(self, scan_head *head, const uint8_t *data, size_t size, Template like) except -1:
        """A whole head: make the environ, frame the body, keep what belongs to later requests.

        like: of the same fields; then the head has none.
        """
        cdef Station station = self.station
        cdef const uint8_t *rest = data + head.head_len
        cdef size_t rest_size = size - head.head_len
        cdef int fault = 0
        self.exchange.minor = head.minor
        self.exchange.begin_ns = station.ready_ns  # for run(), which counts what it waits from here on
        if station.lagged if self.interest else not self.prompt:
            # It may have waited in the kernel: for accept, or while this worker was inside the application.
            self.exchange.queue_ns = self.waited()
            if self.exchange.queue_ns:
                self.exchange.begin_ns = monotonic_ns()
        self.asked_close = not head.keep_alive
        self.persist = head.keep_alive and station.queues[<int>WAIT_IDLE].span > 0
        self.head_only = head.method_len == 4 and memcmp(data + head.method, b"HEAD", 4) == 0
        if like is not None:
            self.environ = station.environs.build_like(like, head, data, self.remote_addr, self.remote_port)
        else:
            self.environ = station.environs.build(
                head, data, self.base, self.remote_addr, self.remote_port, self.trusted, &fault
            )
            if fault == 0 and self.partial == NULL:
                station.environs.learn(
                    head, data, self.environ, self.base, self.remote_addr, self.remote_port, self.trusted
                )
        if head.form == FORM_AUTHORITY:
            # RFC 9110 9.3.6: a 2xx to CONNECT opens a tunnel; no application can mean that.
            fault = FAULT_CONNECT
        if fault:
            return self.refuse(fault)
        if self.exchange.queue_ns >= NOTABLE_NS and self.turn_away():
            return GONE if self.state == CLOSED else KEEP
        if not (head.chunked or head.content_length):
            self.keep_rest(rest, rest_size)
            self.move(READY)
            unlink(&self.link)
            return WAITING

        if head.content_length > station.body_limit > 0:
            return self.refuse(FAULT_BODY_TOO_LARGE)
        if station.stream_bodies:
            return self.begin_stream(head, rest, rest_size)
        return self.begin_body(head, rest, rest_size)

    cdef int64_t waited(self) noexcept:
        """ns since the client's last bytes came in (man 7 tcp, TCP_INFO); 0 where the kernel cannot tell."""
        cdef tcp_info info
        cdef socklen_t size = sizeof(info)
        if self.local or getsockopt(self.descriptor, IPPROTO_TCP, TCP_INFO, &info, &size) != 0:
            return 0
        return <int64_t>info.tcpi_last_data_recv * 1000000 if info.tcpi_last_data_recv > TICK_MS else 0

    cdef bint left(self) noexcept:
        """Whether the client has shut its side, or is gone altogether."""
        cdef tcp_info info
        cdef socklen_t size = sizeof(info)
        cdef char byte
        if self.local:
            return recv(self.descriptor, &byte, 1, MSG_PEEK) == 0
        if getsockopt(self.descriptor, IPPROTO_TCP, TCP_INFO, &info, &size) != 0:
            return True
        return info.tcpi_state == TCP_CLOSE_WAIT or info.tcpi_state == TCP_CLOSE

    cdef bint turn_away(self) except -1:
        """With --queue-timeout, a request that has waited: whether it is not worth running any more."""
        cdef int64_t limit = self.station.queue_limit
        if limit == 0 or self.exchange.queue_ns < min(limit, <int64_t>PATIENCE_NS):
            return False
        if self.left():
            # Nobody is there to read an answer. (A client that has only half closed is taken for one that left:
            # under load that is what it nearly always is.)
            self.gone = True
            self.record()
            self.environ = None
            self.drop()
            return True
        if self.exchange.queue_ns > limit:
            self.refuse(FAULT_OVERLOADED)
            return True
        return False

    cdef void free_partial(self) noexcept:
        if self.partial != NULL:
            free(self.partial)
            self.partial = NULL

    cdef int let_go(self) except -1:
        self.free_partial()
        return Intake.let_go(self)


cdef int misdirected(const uint8_t *data, size_t size) noexcept:
    """What breaks the rules of HTTP because it is something else that somebody meant for another port; or 0."""
    # The PROXY protocol, version 1 and 2 (proxy-protocol.txt, 2.1 and 2.2).
    if size >= 6 and memcmp(data, b"PROXY ", 6) == 0 or size >= 12 and memcmp(data, PROXY_2, 12) == 0:
        return FAULT_PROXY_PROTOCOL
    # A handshake record of SSL 3.0 or any TLS (RFC 8446 5.1).
    return FAULT_TLS if size >= 3 and data[0] == 22 and data[1] == 3 and data[2] <= 4 else 0
