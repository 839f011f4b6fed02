# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False, binding=False
"""One client: its states, from the first byte received to the last one sent.

States and what may follow are one table (`FOLLOWS`). Everything that reaches a connection is one of four
events, and each has an answer in every state: `turn` (its descriptor is ready), `run` (a runner has taken
the request), `expired` (its deadline passed) and `abandon` (the worker gives it up).

All but `run` are called by the thread that owns the reactor. `run` may be called by another one; between
the call of the application and its return nobody else touches the connection.
"""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.list cimport PyList_GET_ITEM, PyList_GET_SIZE
from cpython.ref cimport Py_DECREF, Py_INCREF, PyObject
from libc.errno cimport (
    EAGAIN, ECONNABORTED, EINTR, EINVAL, EMFILE, ENFILE, ENOBUFS, ENOMEM, ENOSYS, EPROTO, errno,
)
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcmp, memcpy, memmove, memset
from posix.unistd cimport close
import io

cimport cython
from prefork.engine.baton cimport baton, baton_enter, baton_judge, baton_leave
from prefork.engine.body cimport EMPTY_INPUT, Body
from prefork.engine.environ cimport EnvironTable
from prefork.engine.response cimport INLINE_LIMIT, FileWrapper, Response
from prefork.engine.scan cimport (
    FORM_AUTHORITY, SCAN_DATA, SCAN_DONE, SCAN_FAULTY, SCAN_MORE, scan_chunks, scan_chunks_begin, scan_chunks_run, scan_field,
    scan_head, scan_head_begin, scan_head_run, scan_status,
)
from prefork.engine.scoreboard cimport RequestSlot, count_exchange, request_begin
from prefork.engine.station cimport (
    PARKED, WAIT_BODY, WAIT_HEAD, WAIT_IDLE, WAIT_LINGER, WAIT_WRITE, Member, Station, monotonic_ns, unlink,
)

cdef extern from "sys/socket.h" nogil:
    ctypedef unsigned int socklen_t
    struct sockaddr:
        pass
    struct sockaddr_storage:
        uint16_t ss_family
    struct iovec:
        void *iov_base
        size_t iov_len
    struct msghdr:
        iovec *msg_iov
        size_t msg_iovlen
    struct linger_t "linger":
        int l_onoff
        int l_linger
    int accept4(int listener, sockaddr *address, socklen_t *size, int flags)
    ssize_t recv(int descriptor, void *data, size_t size, int flags)
    ssize_t send(int descriptor, const void *data, size_t size, int flags)
    ssize_t sendmsg(int descriptor, const msghdr *message, int flags)
    int shutdown(int descriptor, int how)
    int getsockopt(int descriptor, int level, int option, void *value, socklen_t *size)
    int setsockopt(int descriptor, int level, int option, const void *value, socklen_t size)
    enum:
        AF_INET
        AF_INET6
        SOCK_NONBLOCK
        SOCK_CLOEXEC
        MSG_NOSIGNAL
        MSG_MORE
        MSG_PEEK
        SHUT_WR
        SOL_SOCKET
        SO_LINGER

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
    enum:
        IPPROTO_TCP

cdef extern from "netinet/tcp.h" nogil:
    struct tcp_info:
        uint32_t tcpi_last_data_recv
    enum:
        TCP_INFO

cdef extern from "arpa/inet.h" nogil:
    const char *inet_ntop(int family, const void *address, char *out, socklen_t size)

cdef extern from "sys/epoll.h" nogil:
    ctypedef union epoll_data_t:
        int fd
    struct epoll_event:
        uint32_t events
        epoll_data_t data
    int epoll_ctl(int epoll, int operation, int descriptor, epoll_event *event)
    enum:
        EPOLLERR
        EPOLLET
        EPOLLHUP
        EPOLLIN
        EPOLLOUT
        EPOLL_CTL_ADD
        EPOLL_CTL_MOD

cdef extern from "sys/sendfile.h" nogil:
    ssize_t sendfile(int out, int source, int64_t *offset, size_t count)

cdef extern from "sys/stat.h" nogil:
    struct stat_t "stat":
        int64_t st_size
        unsigned int st_mode
    int fstat(int descriptor, stat_t *facts)
    bint S_ISREG(unsigned int mode)

cdef extern from "poll.h" nogil:
    struct pollfd:
        int fd
        short events
        short revents
    int poll(pollfd *list, unsigned long count, int milliseconds)
    enum:
        POLLOUT

cdef extern from *:
    """
    #include <stddef.h>
    #include <sys/syscall.h>
    #include <unistd.h>
    /* gettid(2) once a thread, not once a request. */
    static inline long native_thread(void) {
        static __thread long id;
        if (!id)
            id = syscall(SYS_gettid);
        return id;
    }
    #define prefork_head_used(h) (offsetof(scan_head, fields) + (size_t)(h)->field_count * sizeof(scan_field))
    """
    size_t prefork_head_used(scan_head *head) nogil
    long native_thread() nogil

cdef extern from "octets.h" nogil:
    size_t octets_decimal(char *out, uint64_t number)
    size_t octets_hex(char *out, uint64_t number)

# Engine fault codes that the scanner does not know (prefork/errors.py).
cdef enum:
    FAULT_BODY_TOO_LARGE = 64
    FAULT_HEAD_TIMEOUT = 65
    FAULT_BODY_TIMEOUT = 66
    FAULT_APP = 67
    FAULT_OVERLOADED = 68
    FAULT_REQUEST_TIMEOUT = 69
    FAULT_SPOOL = 70
    FAULT_CONNECT = 73

# Neither readable nor writable: only the end of the connection is told, once.
cdef uint32_t QUIET = <uint32_t>EPOLLET

cdef enum:
    RECEIVES = 4         # body reads a turn: others want their turn too
    VECTORS = 16         # iovecs a flush
    FILE_STEP = 1 << 30  # bytes a sendfile call; the kernel takes what the socket has room for
    TRAILER_LIMIT = 8192
    JOIN_LIMIT = 1 << 20 # a list of chunks up to this many bytes goes out as one

# state -> the states that may follow it. Tests walk every pair.
FOLLOWS = {
    OPEN: {HEAD, BODY, READY, LINGER, CLOSED},
    HEAD: {BODY, READY, LINGER, CLOSED},
    BODY: {READY, LINGER, CLOSED},
    READY: {RUNNING, LINGER, CLOSED},
    RUNNING: {OPEN, FLUSH, LINGER, CLOSED},
    FLUSH: {OPEN, LINGER, CLOSED},
    LINGER: {CLOSED},
    CLOSED: set(),
}
STATE_NAMES = ("OPEN", "HEAD", "BODY", "READY", "RUNNING", "FLUSH", "LINGER", "CLOSED")

cdef uint32_t follows[8]
for _state, _next in FOLLOWS.items():
    follows[<int>_state] = sum(1 << n for n in _next)

cdef tuple PLAIN_FILES = (io.FileIO, io.BufferedReader, io.BufferedRandom)
cdef tuple PLAIN_READS = tuple(kind.read for kind in PLAIN_FILES)
cdef str WSGI_INPUT = "wsgi.input"
cdef str EARLY_HINTS = "wsgi.early_hints"
cdef str QUEUE_MS = "prefork.queue_ms"
cdef str CONTENT_LENGTH = "CONTENT_LENGTH"
cdef str REQUEST_METHOD = "REQUEST_METHOD"
cdef str RAW_URI = "RAW_URI"
cdef str EMPTY = ""
cdef bytes NOTHING = b""


class RequestTimeout(BaseException):
    """Raised inside a request that has run longer than --timeout. No Exception: applications catch those."""


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
        cdef Connection connection
        cdef int descriptor = accept4(
            self.descriptor, <sockaddr *>&address, &size, SOCK_NONBLOCK | SOCK_CLOEXEC
        )
        if descriptor < 0:
            if errno in (EMFILE, ENFILE, ENOBUFS, ENOMEM):
                self.station.exhausted = True
                raise OSError(errno, "accept")
            # EAGAIN: a sibling was faster. The rest are the client's network errors (man 2 accept): its loss.
            return None
        try:
            connection = Connection.__new__(Connection)
            connection.descriptor = descriptor
            connection.station = self.station
            connection.endpoint = self
            if self.local:
                connection.remote_addr = connection.remote_port = EMPTY
                connection.trusted = True
            else:
                connection.remote_addr, connection.remote_port = peer(&address)
                connection.trusted = self.station.trusted(connection.remote_addr)
        except BaseException:
            close(descriptor)
            raise
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


@cython.freelist(256)
cdef class Connection(Member):
    """One accepted client. Made by Endpoint.accept()."""

    def __cinit__(self):
        self.descriptor = -1
        self.file_descriptor = -1

    def __dealloc__(self):
        unlink(&self.link)
        if self.descriptor >= 0:
            close(self.descriptor)
        free(self.saved)
        free(self.partial)
        free(self.chunks)

    @property
    def state(self):
        """The name of the state."""
        return STATE_NAMES[self.state]

    @property
    def request(self):
        """The environ of the request at hand, or None."""
        return self.environ

    # --- events ---

    cpdef int turn(self, uint32_t events) except -1:
        """The descriptor is ready (or bytes are left from the last turn). Returns an Outcome."""
        cdef int outcome
        cdef ssize_t n
        if self.state <= HEAD:
            outcome = self.read()
        elif self.state == BODY:
            outcome = self.read_body()
        elif self.state == FLUSH:
            self.flush()
            if self.gone or not (self.pending_size or self.file is not None):
                return self.finish()
            return KEEP
        elif self.state == LINGER:
            n = recv(self.descriptor, self.station.buffer, self.station.buffer_size, 0)
            if n > 0 or (n < 0 and errno in (EAGAIN, EINTR)):
                return KEEP
            return self.drop()
        elif self.state == CLOSED:
            return GONE
        else:
            # The application has it. What the client sends waits in the kernel; of its end we are told once.
            if events & (EPOLLERR | EPOLLHUP):
                self.gone = True
            self.watch(QUIET)
            return KEEP
        if outcome == WAITING and not self.station.hold:
            return self.run()
        return outcome

    cpdef int run(self, bint apart=False) except -1:
        """Call the application for the request that is READY. Returns an Outcome.

        apart: the caller has passed the reactor's turn on, or never had it.
        """
        cdef Station station = self.station
        cdef baton *lead = station.lead
        cdef uint64_t entered = 0
        cdef int lost = 0
        cdef Response response
        cdef object result
        if self.state != READY:
            return GONE if self.state == CLOSED else KEEP
        self.move(RUNNING)
        if station.parked_count:
            station.parked_count -= 1
            response = <Response>station.parked[station.parked_count]
            Py_DECREF(response)
        else:
            response = Response()
        response.begin(self)
        self.response = response
        self.exchange.begin_ns = monotonic_ns()
        if self.exchange.queue_ns == 0:
            self.exchange.queue_ns = self.exchange.begin_ns - station.ready_ns
        self.note_request()
        station.slot.running += 1
        if lead != NULL and not apart:
            entered = baton_enter(lead, self.exchange.begin_ns)
        try:
            if station.pre_request is not None:
                station.pre_request(self.environ)
            self.environ[EARLY_HINTS] = response.hints_bound
            self.inside = True
            result = station.application(self.environ, response.start_bound)
            self.emit(result)
            self.inside = False
        except BaseException as fault:
            self.app_fault(fault)
        if self.asked:
            self.asked = False
            PyThreadState_SetAsyncExc(PyThread_get_thread_ident(), NULL)
        result = None
        self.exchange.app_ns = monotonic_ns()
        if lead != NULL:
            baton_judge(lead, self.exchange.app_ns - self.exchange.begin_ns)
            if not apart and not baton_leave(lead, entered):
                lost = LOST
        station.slot.running -= 1
        station.free_request(self.slot, self.slot_index)
        self.slot = NULL
        return self.settle() | lost

    cdef int expired(self) except -1:
        cdef uint64_t got
        if self.state == OPEN:
            self.drop()
        elif self.state == HEAD:
            self.refuse(FAULT_HEAD_TIMEOUT)
        elif self.state == BODY:
            got = self.body.total - self.body_mark
            if <int64_t>got >= self.station.body_least and got > 0:
                self.body_mark = self.body.total
                self.station.enqueue(self, WAIT_BODY)
            else:
                self.refuse(FAULT_BODY_TIMEOUT)
        elif self.state == FLUSH:
            self.gone = self.cut = True
            self.finish()
        elif self.state == LINGER:
            self.drop()
        return 0

    cpdef bint retire(self) except -1:
        """The worker drains: end an idle connection. True: a request has come; the connection wants its turn."""
        cdef char byte
        if self.state != OPEN:
            return False
        if self.fresh or recv(self.descriptor, &byte, 1, MSG_PEEK) > 0:
            return True
        self.linger()
        return False

    cpdef int abandon(self) except -1:
        """The worker stops now: end the connection in whatever state it is, visibly when inside a response."""
        if self.state == RUNNING or self.state == CLOSED:
            return KEEP
        if self.state == FLUSH:
            self.gone = self.cut = True
            return self.finish()
        return self.drop()

    # --- a request that takes too long (called while another frame is inside run) ---

    @property
    def inside_application(self):
        """Whether the application is being called, or iterated."""
        return self.inside

    @property
    def thread(self):
        """The native id of the thread that runs the request; 0: none does."""
        return self.slot.thread if self.slot != NULL else 0

    @property
    def head_sent(self):
        """Whether the response has begun."""
        return self.response is not None and self.response.sent

    def interrupt(self, unsigned long thread):
        """Have RequestTimeout raised in the thread (threading.get_ident()) that runs the request."""
        if self.inside:
            self.asked = True
            PyThreadState_SetAsyncExc(thread, <PyObject *>RequestTimeout)

    def give_up(self):
        """Answer 504 from outside, or cut the response: the application does not let go of the request.

        Whatever it still writes is dropped.
        """
        cdef tuple answer
        cdef bytes text
        if self.state != RUNNING or self.gone:
            return
        if not self.response.sent:
            answer = <tuple>self.station.refusals[FAULT_REQUEST_TIMEOUT]
            text = answer[1] + self.station.stamp[:self.station.stamp_len] + answer[2]
            if not self.head_only:
                text += answer[3]
            send(self.descriptor, PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text), MSG_NOSIGNAL)
            self.response.sent = True
            self.exchange.status = answer[0]
        elif self.until_close:
            self.abort_visibly()
        self.gone = True
        self.cut = True
        shutdown(self.descriptor, SHUT_WR)

    # --- receive ---

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
        cdef scan_status found
        cdef int outcome
        if head == NULL:
            head = &station.head
            scan_head_begin(head)
            memset(&self.exchange, 0, sizeof(self.exchange))
        found = scan_head_run(head, data, size, &station.limits)
        if found == SCAN_DONE:
            outcome = self.begin(head, data, size)
            self.free_partial()
            return outcome
        if found == SCAN_FAULTY:
            self.exchange.minor = head.minor
            self.environ = station.environs.outline(head, data)
            self.head_only = head.target_len and head.method_len == 4 and memcmp(data + head.method, b"HEAD", 4) == 0
            outcome = head.fault
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

    cdef int begin(self, scan_head *head, const uint8_t *data, size_t size) except -1:
        """A whole head: make the environ, frame the body, keep what belongs to later requests."""
        cdef Station station = self.station
        cdef const uint8_t *rest = data + head.head_len
        cdef size_t rest_size = size - head.head_len
        cdef size_t take
        cdef int fault = 0
        self.exchange.minor = head.minor
        if self.interest == 0 or station.lagged:
            # It may have waited in the kernel: for accept, or while this worker was inside the application.
            self.exchange.queue_ns = self.waited()
        self.asked_close = not head.keep_alive
        self.persist = head.keep_alive and station.queues[<int>WAIT_IDLE].span > 0
        self.head_only = head.method_len == 4 and memcmp(data + head.method, b"HEAD", 4) == 0
        self.environ = station.environs.build(
            head, data, self.endpoint.base, self.remote_addr, self.remote_port, self.trusted, &fault
        )
        if self.exchange.queue_ns >= 1000000:
            self.environ[QUEUE_MS] = self.exchange.queue_ns / 1e6
            if station.queue_limit and self.exchange.queue_ns > station.queue_limit:
                fault = FAULT_OVERLOADED
        if head.form == FORM_AUTHORITY:
            # RFC 9110 9.3.6: a 2xx to CONNECT opens a tunnel; no application can mean that.
            fault = FAULT_CONNECT
        if fault:
            return self.refuse(fault)
        if not (head.chunked or head.content_length):
            self.keep_rest(rest, rest_size)
            self.move(READY)
            unlink(&self.link)
            return WAITING

        if head.content_length > station.body_limit > 0:
            return self.refuse(FAULT_BODY_TOO_LARGE)
        self.body = Body.__new__(Body)
        self.body.begin(head.content_length, station.body_memory_limit, station.open_spool)
        self.body_left = head.content_length
        self.body_mark = 0
        self.chunked_in = head.chunked
        self.move(BODY)
        if self.chunked_in:
            if self.chunks == NULL:
                self.chunks = <scan_chunks *>malloc(sizeof(scan_chunks))
                if self.chunks == NULL:
                    raise MemoryError()
            scan_chunks_begin(self.chunks)
        if rest_size:
            if self.chunked_in:
                fault = self.feed(rest, rest_size)
            else:
                take = rest_size if rest_size < self.body_left else self.body_left
                try:
                    self.body.append(rest, take)
                except OSError as error:
                    return self.spool_failed(error)
                self.body_left -= take
                if self.body_left == 0:
                    self.keep_rest(rest + take, rest_size - take)
                    return self.body_done()
                self.free_saved()
                fault = KEEP
            if self.state != BODY:
                return fault
        else:
            self.free_saved()
            if head.expect_continue:
                # RFC 9110 10.1.1: before reading, and not when the body is on its way already.
                send(self.descriptor, b"HTTP/1.1 100 Continue\r\n\r\n", 25, MSG_NOSIGNAL)
        if self.interest == 0:
            self.watch(EPOLLIN)
        station.enqueue(self, WAIT_BODY)
        return KEEP

    cdef int64_t waited(self) noexcept:
        """ns since the client's last bytes came in (man 7 tcp, TCP_INFO); 0 where the kernel cannot tell."""
        cdef tcp_info info
        cdef socklen_t size = sizeof(info)
        if self.endpoint.local or getsockopt(self.descriptor, IPPROTO_TCP, TCP_INFO, &info, &size) != 0:
            return 0
        return <int64_t>info.tcpi_last_data_recv * 1000000

    cdef int read_body(self) except -1:
        cdef Station station = self.station
        cdef uint8_t *into
        cdef size_t room
        cdef ssize_t n
        cdef int i, outcome
        for i in range(RECEIVES):
            into = NULL if self.chunked_in else self.body.room(&room)
            if into == NULL:
                into = station.buffer
                room = station.buffer_size
            if not self.chunked_in and room > self.body_left:
                room = self.body_left
            n = recv(self.descriptor, into, room, 0)
            if n < 0 and errno in (EAGAIN, EINTR):
                return KEEP
            if n <= 0:
                station.slot.statuses[0] += 1
                return self.drop()
            if self.chunked_in:
                outcome = self.feed(into, n)
                if self.state != BODY:
                    return outcome
            else:
                if into == station.buffer:
                    try:
                        self.body.append(into, n)
                    except OSError as error:
                        return self.spool_failed(error)
                else:
                    self.body.took(n)
                self.body_left -= n
                if self.body_left == 0:
                    return self.body_done()
            if <size_t>n < room:
                break
        return KEEP

    cdef int feed(self, const uint8_t *data, size_t size) except -1:
        """Chunked bytes. Leaves BODY when the body is over or refused."""
        cdef Station station = self.station
        cdef size_t used, at, length
        cdef scan_status found
        while True:
            found = scan_chunks_run(self.chunks, data, size, TRAILER_LIMIT, &used, &at, &length)
            if found == SCAN_FAULTY:
                return self.refuse(self.chunks.fault)
            if found == SCAN_DATA:
                if self.body.total + self.chunks.left + length > station.body_limit:
                    return self.refuse(FAULT_BODY_TOO_LARGE)  # by its announced size, before it comes
                try:
                    self.body.append(data + at, length)
                except OSError as error:
                    return self.spool_failed(error)
            data += used
            size -= used
            if found == SCAN_MORE:
                self.free_saved()
                return KEEP
            if found == SCAN_DONE:
                self.keep_rest(data, size)
                return self.body_done()

    cdef int body_done(self) except -1:
        cdef Body body = self.body
        self.exchange.body_in = body.total
        if self.chunked_in:
            # The length is known now, so applications need not know of chunks (Django reads by it).
            self.environ[CONTENT_LENGTH] = str(body.total)
        try:
            self.environ[WSGI_INPUT] = body.finish()
            if body.large:
                self.spooled = self.environ[WSGI_INPUT]
        except OSError as error:
            return self.spool_failed(error)
        self.body = None
        self.move(READY)
        unlink(&self.link)
        return WAITING

    cdef int spool_failed(self, object error) except -1:
        self.station.on_notice(f"request body could not be spooled: {error}")
        return self.refuse(FAULT_SPOOL)

    cdef int save(self, const uint8_t *data, size_t size) except -1:
        """Append to the saved bytes; data NULL: only make room for size more."""
        cdef size_t held = self.saved_to - self.saved_from
        cdef size_t need = held + size
        cdef uint8_t *room
        if self.saved_from and (held == 0 or self.saved_size - self.saved_to < size):
            memmove(self.saved, self.saved + self.saved_from, held)
            self.saved_from = 0
            self.saved_to = held
        if need > self.saved_size:
            need = need if self.saved_size * 2 < need else self.saved_size * 2
            room = <uint8_t *>realloc(self.saved, need)
            if room == NULL:
                raise MemoryError()
            self.saved = room
            self.saved_size = need
        if data != NULL:
            memcpy(self.saved + self.saved_to, data, size)
            self.saved_to += size
        return 0

    cdef int keep_rest(self, const uint8_t *data, size_t size) except -1:
        """What follows the request: pipelined bytes, looked at when this one is answered."""
        if size == 0:
            self.free_saved()
        elif self.saved != NULL:
            self.saved_from = self.saved_to - size
            self.fresh = True
        else:
            self.save(data, size)
            self.fresh = True
        return 0

    cdef void free_saved(self) noexcept:
        if self.saved != NULL:
            free(self.saved)
            self.saved = NULL
        self.saved_from = self.saved_to = self.saved_size = 0
        self.fresh = False

    cdef void free_partial(self) noexcept:
        if self.partial != NULL:
            free(self.partial)
            self.partial = NULL

    # --- answer ---

    cdef int note_request(self) except -1:
        """Tell the scoreboard what runs here, for timeouts and crash reports."""
        cdef Station station = self.station
        cdef object method = self.environ[REQUEST_METHOD]
        cdef object target = self.environ[RAW_URI]
        cdef int64_t deadline = self.exchange.begin_ns + station.request_span if station.request_span else 0
        self.slot = station.take_request(&self.slot_index, self)
        if self.slot_index >= 0:
            station.unanswered[self.slot_index] = self.descriptor
        request_begin(
            self.slot, self.exchange.begin_ns, deadline, native_thread(),
            <const char *>PyUnicode_1BYTE_DATA(method), PyUnicode_GET_LENGTH(method),
            <const char *>PyUnicode_1BYTE_DATA(target), PyUnicode_GET_LENGTH(target),
        )
        return 0

    cdef int emit(self, object result) except -1:
        """Send what the application returned, and close it exactly once (PEP 3333)."""
        cdef object shut
        if type(result) is list or type(result) is tuple:
            return self.emit_list(result)
        try:
            if type(result) is FileWrapper:
                if self.emit_file(<FileWrapper>result):
                    return 0
                self.ranged = True
            for data in result:
                if self.chunk(data):
                    break
            else:
                self.end_body()
        except BaseException as fault:
            self.app_fault(fault)
        shut = getattr(result, "close", None)
        if shut is not None:
            try:
                shut()
            except BaseException as fault:
                self.app_fault(fault)
        return 0

    cdef int emit_list(self, object result) except -1:
        cdef object data
        cdef int64_t total = 0
        for data in result:
            if not isinstance(data, bytes):
                raise TypeError(f"the application's iterable gave {type(data).__name__}, not bytes")
            total += len(data)
        if not self.response.sent and self.response.status:
            if total <= JOIN_LIMIT:
                data = result[0] if len(result) == 1 else NOTHING.join(result)
                result = (data,)
            self.open_head(total)
        for data in result:
            if self.give(data):
                return 0
        return self.end_body()

    cdef int chunk(self, object data) except -1:
        """Send one chunk; return when the next may be made. 1: the client is gone."""
        if self.give(data):
            return 1
        if self.pending_size > self.station.response_limit:
            self.make_room()
        return 1 if self.gone else 0

    cdef int give(self, object data) except -1:
        """Send one chunk, or hold it. 1: the client is gone, there is no use in making more."""
        cdef Response response = self.response
        cdef const char *text
        cdef size_t size, head_size = 0, tail_size = 0
        cdef const char *head = NULL
        cdef char line[20]
        if not isinstance(data, bytes):
            raise TypeError(f"the application's iterable gave {type(data).__name__}, not bytes")
        size = PyBytes_GET_SIZE(data)
        text = PyBytes_AS_STRING(data)
        if response.status == 0:
            raise AssertionError("the application gave a chunk before it called start_response")
        if self.gone or self.ended:
            return 1
        if size == 0:
            return 0
        if not response.sent:
            self.open_head(-1)
        if response.head_len:
            head = response.head
        if self.bodiless:
            size = 0
        elif response.has_length:
            if size > self.length_left:
                # What was promised goes out, no more: the rest would be read as the next response.
                size = self.length_left
                self.length_left = 0
                self.ended = True
                if size or head != NULL:
                    self.push(head, response.head_len, text, size, data, 0)
                if self.ranged:
                    return 1  # a file is sent as far as its Content-Length says (PEP 3333)
                raise ValueError("the application gave more bytes than its Content-Length")
            self.length_left -= size
        elif self.chunked_out:
            if head != NULL:
                response.reserve(20)
                response.head_len += octets_hex(response.head + response.head_len, size)
                response.put(b"\r\n", 2)
                head = response.head
            else:
                head_size = octets_hex(line, size)
                line[head_size] = c'\r'
                line[head_size + 1] = c'\n'
                head = line
                head_size += 2
            tail_size = 2
        if response.head_len:
            head_size = response.head_len
        if size or head_size:
            self.push(head, head_size, text, size, data, tail_size)
        return 1 if self.gone else 0

    cdef int push(self, const char *head, size_t head_size, const char *text, size_t size, object owner,
                  size_t tail_size) except -1:
        """Account for body bytes and send them, with what goes before and behind."""
        self.response.head_len = 0
        self.exchange.body_out += size
        return self.transmit(head, head_size, text, size, owner, b"\r\n", tail_size, 0)

    cdef int emit_file(self, FileWrapper wrapper) except -1:
        """Begin to send a plain file from where it stands. 0: it is none, iterate instead."""
        cdef Response response = self.response
        cdef stat_t facts
        cdef object reader, source
        cdef int descriptor
        cdef int64_t at, size
        if not self.station.use_sendfile:
            return 0
        # Only where read() is the plain file's own: a GzipFile has a fileno() too.
        reader = getattr(wrapper.filelike, "read", None)
        reader = getattr(reader, "__wrapped__", reader)
        source = getattr(reader, "__self__", None)
        if not isinstance(source, PLAIN_FILES) or type(source).read not in PLAIN_READS:
            return 0
        descriptor = source.fileno()
        if fstat(descriptor, &facts) != 0 or not S_ISREG(facts.st_mode):
            return 0
        if response.status == 0:
            raise AssertionError("the application returned before it called start_response")
        at = source.tell()
        size = facts.st_size - at if facts.st_size > at else 0
        if not response.sent:
            self.open_head(size)
        if self.bodiless or self.gone:
            return 0
        if response.has_length and <uint64_t>size > self.length_left:
            size = self.length_left
        elif not response.has_length:
            return 0
        self.file = wrapper
        self.file_descriptor = descriptor
        self.file_at = at
        self.file_left = size
        self.length_left -= size
        self.exchange.body_out += size
        size = response.head_len
        response.head_len = 0
        if size:
            self.transmit(response.head, size, NULL, 0, None, NULL, 0, MSG_MORE if self.file_left else 0)
        self.end_body()
        if self.pending_size == 0 and not self.gone:
            self.send_file()
        return 1

    cdef int end_body(self) except -1:
        """The application has given its last chunk."""
        cdef Response response = self.response
        cdef size_t size
        if response.status == 0:
            raise AssertionError("the application returned before it called start_response")
        if not response.sent:
            self.open_head(0)
        self.ended = True
        size = response.head_len
        response.head_len = 0
        if self.gone:
            return 0
        if self.chunked_out:
            self.transmit(response.head, size, b"0\r\n\r\n", 5, None, NULL, 0, 0)
        elif size:
            self.transmit(response.head, size, NULL, 0, None, NULL, 0, 0)
        if response.has_length and self.length_left and not self.bodiless:
            self.cut = True
            raise ValueError(f"the application gave {self.length_left} bytes less than its Content-Length")
        return 0

    cdef int open_head(self, int64_t length) except -1:
        """Decide the framing and complete the head (RFC 9112 6). length: of the body when known, else -1."""
        cdef Response response = self.response
        cdef Station station = self.station
        cdef char number[24]
        response.sent = True
        if self.slot != NULL and self.slot_index >= 0:
            station.unanswered[self.slot_index] = -1
        response.reserve(0)
        self.exchange.status = response.status
        self.bodiless = self.head_only or response.status == 204 or response.status == 304
        if response.has_length:
            self.length_left = response.length
        elif self.bodiless:
            if length > 0 and self.head_only:
                response.put(b"Content-Length: ", 16)
                response.put(number, octets_decimal(number, length))
                response.put(b"\r\n", 2)
        elif length >= 0:
            response.put(b"Content-Length: ", 16)
            response.put(number, octets_decimal(number, length))
            response.put(b"\r\n", 2)
            response.has_length = True
            self.length_left = length
        elif self.exchange.minor:
            response.put(b"Transfer-Encoding: chunked\r\n", 28)
            self.chunked_out = True
        else:
            self.until_close = True
            self.persist = False
        if station.draining:
            self.persist = False
        if not self.persist:
            response.put(b"Connection: close\r\n", 19)
        elif self.exchange.minor == 0:
            response.put(b"Connection: keep-alive\r\n", 24)
        if not response.has_server:
            response.put(station.stamp, station.server_len)
        if not response.has_date:
            response.put(station.stamp + station.server_len, station.stamp_len - station.server_len)
        response.put(b"\r\n", 2)
        return 0

    cdef int hint(self, list headers) except -1:
        """103 Early Hints (RFC 8297). Left out for HTTP/1.0 and once the head is on its way."""
        cdef Response hints
        if self.exchange.minor == 0 or self.response.sent or self.gone:
            return 0
        hints = Response()
        hints.start("200 ", headers)
        if hints.has_length:
            raise ValueError("early_hints: Content-Length has no place in a 103")
        # The status line of a final response was only a stand-in for the check of the fields.
        hints.put(b"\r\n", 2)
        cdef bytes text = b"HTTP/1.1 103 Early Hints\r\n" + hints.head[15:hints.head_len]
        self.transmit(PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text), NULL, 0, None, NULL, 0, 0)
        return 0

    cdef int app_fault(self, object fault) except -1:
        """An exception out of the application: told once; the client gets a 500 or sees the body cut."""
        cdef Response response = self.response
        cdef tuple answer
        cdef int code = FAULT_APP
        self.inside = False
        if self.gone and isinstance(fault, ConnectionError):
            return 0  # its write() was told that the client left
        if isinstance(fault, RequestTimeout):
            code = FAULT_REQUEST_TIMEOUT  # told by whoever raised it, with all stacks
        else:
            self.station.slot.app_faults += 1
            self.station.on_app_fault(self.environ, fault)
        if self.ended:
            return 0
        if response.sent:
            self.cut = self.ended = True
            return 0
        response.headers = None
        answer = <tuple>self.station.refusals[code]
        response.status = answer[0]
        response.has_length = response.has_date = response.has_server = False
        response.head_len = 0
        response.reserve(len(answer[1]) + 64)
        response.put(answer[1], len(answer[1]))
        response.put(b"Content-Type: text/plain; charset=latin-1\r\n", 43)
        self.persist = False
        self.open_head(len(answer[3]))
        self.give(answer[3])
        return self.end_body()

    cdef int refuse(self, int code) except -1:
        """Answer a request that never reaches the application, and close."""
        cdef Station station = self.station
        cdef tuple answer = <tuple>station.refusals[code]
        cdef bytes text
        if self.exchange.begin_ns == 0:
            self.exchange.begin_ns = monotonic_ns()
        self.exchange.status = answer[0]
        self.persist = False
        station.slot.client_faults += 1
        text = answer[1] + station.stamp[:station.stamp_len] + answer[2]
        if not self.head_only:
            text += answer[3]
            self.exchange.body_out = len(answer[3])
        # The kernel's buffer is empty here, or nearly; what it does not take, a client at fault does not get.
        if send(self.descriptor, PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text), MSG_NOSIGNAL) < 0:
            self.gone = errno not in (EAGAIN, EINTR)
        self.record()
        station.on_refusal(self.remote_addr, code)
        self.environ = None
        self.body = None
        self.free_saved()
        return self.drop() if self.gone else self.linger()

    # --- send ---

    cdef int transmit(self, const char *head, size_t head_size, const char *data, size_t size, object owner,
                      const char *tail, size_t tail_size, int flags) except -1:
        """Send three pieces as one; hold what the kernel does not take. owner: the bytes object that is data."""
        cdef iovec vectors[3]
        cdef msghdr message
        cdef ssize_t n
        cdef size_t sent
        if self.gone:
            return 0
        if self.pending_size:
            self.flush()
        if self.pending_size == 0 and not self.gone:
            if size == 0 and tail_size == 0:
                n = send(self.descriptor, head, head_size, MSG_NOSIGNAL | flags)
            else:
                vectors[0].iov_base = <void *>head
                vectors[0].iov_len = head_size
                vectors[1].iov_base = <void *>data
                vectors[1].iov_len = size
                vectors[2].iov_base = <void *>tail
                vectors[2].iov_len = tail_size
                memset(&message, 0, sizeof(message))
                message.msg_iov = vectors
                message.msg_iovlen = 3
                n = sendmsg(self.descriptor, &message, MSG_NOSIGNAL | flags)
            if n == <ssize_t>(head_size + size + tail_size):
                return 0
            if n < 0:
                if errno not in (EAGAIN, EINTR):
                    self.gone = True
                    return 0
                n = 0
        elif self.gone:
            return 0
        else:
            n = 0
        sent = n
        if sent < head_size:
            self.hold(head + sent, head_size - sent, None)
            sent = 0
        else:
            sent -= head_size
        if sent < size:
            if owner is None:
                self.hold(data + sent, size - sent, None)
            else:
                self.hold(data + sent, size - sent, owner)
            sent = 0
        else:
            sent -= size
        if sent < tail_size:
            self.hold(tail + sent, tail_size - sent, None)
        return 0

    cdef int hold(self, const char *data, size_t size, object owner) except -1:
        """Keep bytes for flush(): owner itself when data is its end or all of it, else a copy."""
        cdef size_t skipped
        if self.pending is None:
            self.pending = []
        if owner is not None and PyBytes_AS_STRING(owner) + PyBytes_GET_SIZE(owner) == data + size:
            skipped = PyBytes_GET_SIZE(owner) - size
            if skipped == 0 or PyList_GET_SIZE(self.pending) == 0:
                self.pending.append(owner)
                self.pending_at = skipped if PyList_GET_SIZE(self.pending) == 1 else self.pending_at
                self.pending_size += size
                return 0
        if PyList_GET_SIZE(self.pending) == 0:
            self.pending_at = 0
        self.pending.append(PyBytes_FromStringAndSize(data, <Py_ssize_t>size))
        self.pending_size += size
        return 0

    cdef int flush(self) except -1:
        """Send what is pending, then the file, as far as the kernel takes them."""
        cdef iovec vectors[VECTORS]
        cdef msghdr message
        cdef object data
        cdef Py_ssize_t i, n
        cdef ssize_t sent
        cdef size_t size, offered
        while self.pending_size:
            n = min(PyList_GET_SIZE(self.pending), <Py_ssize_t>VECTORS)
            offered = 0
            for i in range(n):
                data = <object>PyList_GET_ITEM(self.pending, i)
                vectors[i].iov_base = PyBytes_AS_STRING(data)
                vectors[i].iov_len = PyBytes_GET_SIZE(data)
                if i == 0:
                    vectors[0].iov_base = PyBytes_AS_STRING(data) + self.pending_at
                    vectors[0].iov_len -= self.pending_at
                offered += vectors[i].iov_len
            memset(&message, 0, sizeof(message))
            message.msg_iov = vectors
            message.msg_iovlen = n
            sent = sendmsg(self.descriptor, &message, MSG_NOSIGNAL)
            if sent < 0:
                if errno == EINTR:
                    continue
                if errno != EAGAIN:
                    self.gone = True
                return 0
            self.pending_size -= sent
            if self.state == FLUSH and sent:
                self.station.enqueue(self, WAIT_WRITE)
            size = sent
            i = 0
            while i < n and size >= vectors[i].iov_len:
                size -= vectors[i].iov_len
                i += 1
            if i:
                del self.pending[:i]
                self.pending_at = 0
            self.pending_at += size
            if <size_t>sent < offered:
                return 0
        if self.file is not None:
            self.send_file()
        return 0

    cdef int send_file(self) except -1:
        cdef ssize_t sent
        while self.file_left:
            sent = sendfile(
                self.descriptor, self.file_descriptor, &self.file_at, min(self.file_left, <uint64_t>FILE_STEP)
            )
            if sent < 0:
                if errno == EINTR:
                    continue
                if errno != EAGAIN:
                    self.gone = self.cut = True
                    break
                return 0
            if sent == 0:
                # The file became shorter than it was: what was promised cannot be given.
                self.exchange.body_out -= self.file_left
                self.cut = True
                break
            self.file_left -= sent
            if self.state == FLUSH:
                self.station.enqueue(self, WAIT_WRITE)
        return self.release_file()

    cdef int make_room(self) except -1:
        """The application is ahead of the client by more than the limit: wait until half of it is taken."""
        cdef Station station = self.station
        cdef pollfd ready
        cdef int64_t deadline = monotonic_ns() + station.queues[<int>WAIT_WRITE].span
        cdef int64_t left
        cdef uint64_t before
        while self.pending_size > station.response_limit // 2 and not self.gone:
            if station.wait_writable is not None:
                if not station.wait_writable(self, deadline):
                    self.gone = self.cut = True
                    return 0
            else:
                left = (deadline - monotonic_ns()) // 1000000
                if left <= 0:
                    self.gone = self.cut = True
                    return 0
                ready.fd = self.descriptor
                ready.events = POLLOUT
                with nogil:
                    poll(&ready, 1, <int>min(left, <int64_t>60000))
            before = self.pending_size
            self.flush()
            if self.pending_size < before:
                deadline = monotonic_ns() + station.queues[<int>WAIT_WRITE].span
        return 0

    # --- ends ---

    cdef int settle(self) except -1:
        """The application is done: flush by the reactor what is left, or finish."""
        if self.gone or not (self.pending_size or self.file is not None):
            return self.finish()
        self.move(FLUSH)
        self.watch(EPOLLOUT)
        self.station.enqueue(self, WAIT_WRITE)
        return KEEP

    cdef int finish(self) except -1:
        """The response is out, or will never be: account for it and go on to what follows."""
        cdef Station station = self.station
        cdef Response response = self.response
        cdef bint broken = self.gone or self.cut
        if broken and self.until_close:
            self.abort_visibly()
        if self.file is not None:
            self.exchange.body_out -= self.file_left
            self.release_file()
        self.exchange.body_out -= self.pending_size if self.pending_size < self.exchange.body_out else self.exchange.body_out
        self.pending = None
        self.pending_size = self.pending_at = 0
        self.record()
        if station.post_request is not None:
            station.post_request(self.environ, self.exchange.status)
        self.response = None
        self.environ = None  # before end(): it holds one of the response's callables
        if response.end() and station.parked_count < PARKED:
            Py_INCREF(response)
            station.parked[station.parked_count] = <PyObject *>response
            station.parked_count += 1
        self.chunked_out = self.ended = self.bodiless = self.ranged = self.until_close = self.cut = False
        if self.spooled is not None:
            self.spooled.close()
            self.spooled = None
        if broken:
            return self.drop()
        if self.persist:
            self.move(OPEN)
            if self.interest != EPOLLIN:
                self.watch(EPOLLIN)
            station.enqueue(self, WAIT_IDLE)
            return PIPELINED if self.fresh else KEEP
        if self.asked_close and not self.fresh:
            # The client said that it sends no more (RFC 9112 9.6): nothing can be lost by closing at once.
            return self.drop()
        return self.linger()

    cdef int record(self) except -1:
        """Count the exchange, and write its line."""
        cdef Station station = self.station
        cdef int status = self.exchange.status
        self.exchange.end_ns = monotonic_ns()
        if self.gone and self.exchange.body_out == 0:
            self.exchange.status = 0  # the client left before an answer
        count_exchange(station.slot, &self.exchange)
        self.exchange.status = status
        if station.slot.requests == station.quota:
            station.spent = True
        if station.access_log is not None:
            station.access_log.record(
                &self.exchange, self.environ, None if self.response is None else self.response.headers, self.remote_addr
            )
        return 0

    cdef int linger(self) except -1:
        """Shut our side, read until the client shuts its own, so that no reset destroys what we sent."""
        self.move(LINGER)
        self.free_saved()
        shutdown(self.descriptor, SHUT_WR)
        if self.interest != EPOLLIN:
            self.watch(EPOLLIN)
        self.station.enqueue(self, WAIT_LINGER)
        return KEEP

    cdef int abort_visibly(self) except -1:
        # The body was to end with the connection: only a reset tells the client that it is incomplete.
        cdef linger_t now
        now.l_onoff = 1
        now.l_linger = 0
        setsockopt(self.descriptor, SOL_SOCKET, SO_LINGER, &now, sizeof(now))
        return 0

    cdef int drop(self) except -1:
        """Close the descriptor and let go of everything."""
        cdef int descriptor = self.descriptor
        if self.state == CLOSED:
            return GONE
        self.move(CLOSED)
        unlink(&self.link)
        self.free_saved()
        self.free_partial()
        if self.chunks != NULL:
            free(self.chunks)
            self.chunks = NULL
        self.descriptor = -1
        if self.station.members.get(descriptor) is self:
            del self.station.members[descriptor]
        close(descriptor)
        self.station.slot.connections -= 1
        self.station.exhausted = False
        self.body = None
        self.environ = None
        self.release_file()
        return GONE

    cdef int watch(self, uint32_t events) except -1:
        """Tell epoll what this connection waits for: EPOLLIN, EPOLLOUT or QUIET."""
        cdef epoll_event event
        cdef int operation = EPOLL_CTL_MOD
        if events == self.interest:
            return 0
        if self.interest == 0:
            operation = EPOLL_CTL_ADD
            self.station.members[self.descriptor] = self
        event.events = events
        event.data.fd = self.descriptor
        if epoll_ctl(self.station.epoll, operation, self.descriptor, &event) != 0:
            raise OSError(errno, "epoll_ctl")
        self.interest = events
        return 0

    cdef int release_file(self) except -1:
        cdef FileWrapper wrapper = self.file
        if wrapper is None:
            return 0
        self.file = None
        self.file_descriptor = -1
        try:
            wrapper.close()
        except BaseException as fault:
            self.station.slot.app_faults += 1
            self.station.on_app_fault(self.environ, fault)
        return 0

    cdef int move(self, int state) except -1:
        if not follows[self.state] >> state & 1:
            raise RuntimeError(f"connection: {STATE_NAMES[self.state]} -> {STATE_NAMES[state]}")
        self.state = state
        return 0


cdef extern from "Python.h":
    int PyThreadState_SetAsyncExc(unsigned long thread, PyObject *exception)
    unsigned long PyThread_get_thread_ident()
    const uint8_t *PyUnicode_1BYTE_DATA(object text)
    Py_ssize_t PyUnicode_GET_LENGTH(object text)
