# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False, binding=False
"""One client's descriptor: its states, what epoll watches for, sending, and how a connection ends.

States and what may follow are one table (`FOLLOWS`). Bytes that the kernel does not take at once are held and
flushed by the reactor; a file goes out by sendfile(2).
"""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.list cimport PyList_GET_ITEM, PyList_GET_SIZE
from cpython.exc cimport PyErr_CheckSignals
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memset, strerror
from posix.unistd cimport close

cimport cython
from prefork.engine.scoreboard cimport count_exchange
from prefork.engine.station cimport WAIT_LINGER, WAIT_WRITE, Member, Station, monotonic_ns, unlink

cdef extern from "sys/socket.h" nogil:
    ctypedef unsigned int socklen_t
    struct iovec:
        void *iov_base
        size_t iov_len
    struct msghdr:
        iovec *msg_iov
        size_t msg_iovlen
    struct linger_t "linger":
        int l_onoff
        int l_linger
    ssize_t send(int descriptor, const void *data, size_t size, int flags)
    ssize_t sendmsg(int descriptor, const msghdr *message, int flags)
    int shutdown(int descriptor, int how)
    int setsockopt(int descriptor, int level, int option, const void *value, socklen_t size)
    enum:
        MSG_NOSIGNAL
        SHUT_WR
        SOL_SOCKET
        SO_LINGER

cdef extern from "sys/epoll.h" nogil:
    ctypedef union epoll_data_t:
        int fd
    struct epoll_event:
        uint32_t events
        epoll_data_t data
    int epoll_ctl(int epoll, int operation, int descriptor, epoll_event *event)
    enum:
        EPOLLIN
        EPOLL_CTL_ADD
        EPOLL_CTL_MOD

cdef extern from "unistd.h" nogil:
    ssize_t pread(int descriptor, void *data, size_t size, int64_t at)

cdef extern from "sys/sendfile.h" nogil:
    ssize_t sendfile(int out, int source, int64_t *offset, size_t count)

cdef extern from "poll.h" nogil:
    struct pollfd:
        int fd
        short events
        short revents
    int poll(pollfd *list, unsigned long count, int milliseconds)
    enum:
        POLLOUT

cdef enum:
    VECTORS = 16         # iovecs a flush
    UNREADABLE = -2      # copy_file: it is the file that fails
    SHARE = 1 << 20      # bytes a turn: a client that reads as fast as we send must not keep the others waiting

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


# Not cleared by the collector: the links of its deadline lie in the Station, which must not go first.
@cython.no_gc_clear
cdef class Client(Member):
    """What a Receiver reads from and a Responder writes to."""

    def __cinit__(self):
        self.descriptor = -1
        self.file_descriptor = -1

    def __dealloc__(self):
        unlink(&self.link)
        if self.descriptor >= 0:
            close(self.descriptor)

    @property
    def state(self):
        """The name of the state."""
        return STATE_NAMES[self.state]

    # --- states ---

    cdef int move(self, int state) except -1:
        if not follows[self.state] >> state & 1:
            raise RuntimeError(f"connection: {STATE_NAMES[self.state]} -> {STATE_NAMES[state]}")
        self.state = state
        return 0

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
            # Out of memory, or of watches (epoll(7), max_user_watches): the connection ends at its deadline.
            self.station.notice(f"a connection cannot be watched: epoll_ctl, errno {errno}")
            return 0
        self.interest = events
        return 0

    # --- sending ---

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
                message.msg_iovlen = 3 if tail_size else 2
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
        """Send what is pending, then the file, as far as the kernel takes them, and a turn's share at most."""
        cdef iovec vectors[VECTORS]
        cdef msghdr message
        cdef object data
        cdef Py_ssize_t i, n
        cdef ssize_t sent
        cdef size_t size, offered
        cdef size_t share = 0
        while self.pending_size:
            if share >= SHARE:
                return 0
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
            share += sent
            if self.state == FLUSH and sent:
                self.station.enqueue(self, WAIT_WRITE)
            size = sent
            i = 0
            while i < n and size >= vectors[i].iov_len:
                size -= vectors[i].iov_len
                i += 1
            # All is right before the first of them goes: the end of a bytes object of the application's own may
            # run anything, this function included.
            self.pending_at = size if i else self.pending_at + size
            if i:
                del self.pending[:i]
            if <size_t>sent < offered:
                return 0
        if self.file is not None:
            self.send_file()
        return 0

    cdef int send_file(self) except -1:
        cdef ssize_t sent
        cdef size_t share = 0
        cdef int code
        while self.file_left:
            if share >= SHARE:
                return 0
            sent = sendfile(self.descriptor, self.file_descriptor, &self.file_at, min(self.file_left, <uint64_t>SHARE))
            if sent < 0 and errno != EAGAIN and errno != EINTR:
                # It cannot send this file (man 2 sendfile: EINVAL, ENOSYS, "fall back to read and write"), or does not
                # say what has failed, the file or the socket.
                sent = self.copy_file()
            if sent == UNREADABLE:
                code = errno
                self.exchange.body_out -= self.file_left
                self.file_left = 0
                self.cut = True
                self.tell_fault(OSError(code, f"the file of the response cannot be read: {strerror(code).decode()}"))
                break
            if sent < 0:
                if errno == EINTR:
                    continue
                if errno == EAGAIN:
                    return 0
                self.gone = self.cut = True
                self.exchange.body_out -= self.file_left
                break
            if sent == 0:
                # The file became shorter than it was: what was promised cannot be given.
                self.exchange.body_out -= self.file_left
                self.cut = True
                break
            self.file_left -= sent
            share += sent
            if self.state == FLUSH:
                self.station.enqueue(self, WAIT_WRITE)
        return self.release_file()

    cdef ssize_t copy_file(self) noexcept:
        """Send a piece of the file without sendfile(2). As that returns, with errno; UNREADABLE is a -1 of the file's."""
        cdef char piece[16384]
        cdef ssize_t n = pread(self.file_descriptor, piece, min(self.file_left, <uint64_t>sizeof(piece)), self.file_at)
        if n < 0 and errno != EINTR:
            return UNREADABLE
        if n > 0:
            n = send(self.descriptor, piece, n, MSG_NOSIGNAL)
        if n > 0:
            self.file_at += n
        return n

    cdef int make_room(self) except -1:
        """The application is ahead of the client by more than the limit: wait until half of it is taken."""
        cdef Station station = self.station
        cdef pollfd ready
        cdef int64_t deadline = monotonic_ns() + station.queues[<int>WAIT_WRITE].span
        cdef int64_t left
        cdef uint64_t before
        cdef int found
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
                    found = poll(&ready, 1, <int>min(left, <int64_t>60000))
                PyErr_CheckSignals()  # RequestTimeout comes out of a handler
                if found <= 0:
                    # Room for a few bytes is there at times, but none that POLLOUT would tell of: no progress.
                    continue
            before = self.pending_size
            self.flush()
            if self.pending_size < before:
                deadline = monotonic_ns() + station.queues[<int>WAIT_WRITE].span
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
            self.tell_fault(fault)
        return 0

    cdef void tell_fault(self, object fault) noexcept:
        """Count and log what the application has raised. Whatever is raised by that goes to sys.unraisablehook."""
        self.station.slot.app_faults += 1
        self.station.on_app_fault(self.environ, fault)

    # --- ends ---

    cdef int record(self) except -1:
        """Count the exchange, and write its line."""
        cdef Station station = self.station
        cdef int status = self.exchange.status
        self.exchange.end_ns = monotonic_ns()
        if self.gone and self.exchange.body_out == 0:
            self.exchange.status = 0  # the client left before an answer
        count_exchange(station.slot, &self.exchange)
        self.exchange.status = status
        if station.slot.requests > station.quota - 1:  # unsigned: never, where quota is 0
            station.spent = True
        if station.access_log is not None:
            station.access_log.record(
                &self.exchange, self.environ, None if self.response is None else self.response.headers, self.remote_addr
            )
        return 0

    cdef int linger(self) except -1:
        """Shut our side, read until the client shuts its own, so that no reset destroys what we sent."""
        self.move(LINGER)
        self.let_go()
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
        self.let_go()
        self.descriptor = -1
        if self.station.members.get(descriptor) is self:
            del self.station.members[descriptor]
        close(descriptor)
        self.station.slot.connections -= 1
        self.station.exhausted = False
        self.environ = None
        self.release_file()
        return GONE

    cdef int let_go(self) except -1:
        """Free what was received and is of no use any more."""
        return 0
