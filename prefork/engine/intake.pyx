# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False, binding=False
"""Request bodies: received whole before the application runs, or read by it; and the bytes that are kept for later.

A body that breaks the rules or a limit is refused here.
"""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.exc cimport PyErr_CheckSignals
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy, memmove
from prefork.engine.body cimport Body, Source, make_stream
from prefork.engine.client cimport BODY, KEEP, READY, RUNNING, WAITING, Client
from prefork.engine.scan cimport (
    SCAN_DATA, SCAN_DONE, SCAN_FAULTY, SCAN_MORE, scan_chunks, scan_chunks_begin, scan_chunks_run, scan_head, scan_status,
)
from prefork.engine.station cimport WAIT_BODY, Station, monotonic_ns, unlink

cdef extern from "sys/socket.h" nogil:
    ssize_t recv(int descriptor, void *data, size_t size, int flags)
    ssize_t send(int descriptor, const void *data, size_t size, int flags)
    enum:
        MSG_NOSIGNAL

cdef extern from "sys/epoll.h" nogil:
    enum:
        EPOLLIN
        EPOLLOUT

cdef extern from "poll.h" nogil:
    struct pollfd:
        int fd
        short events
        short revents
    int poll(pollfd *list, unsigned long count, int milliseconds)
    enum:
        POLLIN
        POLLOUT

# Engine fault codes that the scanner does not know (prefork/errors.py).
cdef enum:
    FAULT_BODY_TOO_LARGE = 64
    FAULT_BODY_TIMEOUT = 66
    FAULT_SPOOL = 70

cdef enum:
    RECEIVES = 4         # body reads a turn: others want their turn too
    TRAILER_LIMIT = 8192
    PULL_SIZE = 65536    # most bytes of a streamed body at once
    LOOK_NS = 100000000  # who can wait for room or for bytes, but not for both, looks for the other so often
    CONTINUE_SIZE = 25

cdef const char *CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

cdef str WSGI_INPUT = "wsgi.input"
cdef str CONTENT_LENGTH = "CONTENT_LENGTH"
cdef str TRANSFER_ENCODING = "HTTP_TRANSFER_ENCODING"


class BodyFault(OSError):
    """Reading a streamed request body has failed: the client broke the rules, was too slow or has left.

    code: the fault that the client is answered with (prefork/errors.py), 0 when it has left.
    """

    def __init__(self, code, text):
        super().__init__(text)
        self.code = code


cdef class Intake(Client):
    """A Client that sends request bodies."""

    def __dealloc__(self):
        free(self.saved)
        free(self.chunks)

    cdef int begin_body(self, scan_head *head, const uint8_t *rest, size_t size) except -1:
        """A head with a body behind it, of which some may be here."""
        cdef Station station = self.station
        cdef size_t take
        cdef int outcome = KEEP
        self.body = Body.__new__(Body)
        self.body.begin(head.content_length, station.body_memory_limit, station.open_spool)
        self.body_left = head.content_length
        self.body_mark = 0
        self.chunked_in = head.chunked
        self.move(BODY)
        if self.chunked_in:
            self.begin_chunks()
        if size:
            if self.chunked_in:
                outcome = self.feed(rest, size)
            else:
                take = size if size < self.body_left else self.body_left
                try:
                    self.body.append(rest, take)
                except OSError as error:
                    return self.spool_failed(error)
                self.body_left -= take
                if self.body_left == 0:
                    self.keep_rest(rest + take, size - take)
                    return self.body_done()
                self.free_saved()
            if self.state != BODY:
                return outcome
        else:
            self.free_saved()
            if head.expect_continue:
                # RFC 9110 10.1.1: before reading, and not when the body is on its way already.
                self.transmit(CONTINUE, CONTINUE_SIZE, NULL, 0, None, NULL, 0, 0)
        if self.pending_size:
            # The answers in front have filled the kernel's buffer. Without it the client would wait, and we for it.
            self.watch(EPOLLIN | EPOLLOUT)
        elif self.interest == 0:
            self.watch(EPOLLIN)
        station.enqueue(self, WAIT_BODY)
        return KEEP

    cdef int begin_stream(self, scan_head *head, const uint8_t *rest, size_t size) except -1:
        """The application is called now, and reads the body itself."""
        self.body_left = head.content_length
        self.chunked_in = head.chunked
        self.expecting = head.expect_continue
        self.body_over = False
        self.source = Source.__new__(Source)
        self.source.member = self
        self.streamed = 0
        self.body_mark = 0
        self.body_wait_ns = 0
        if self.chunked_in:
            self.begin_chunks()
        self.keep_rest(rest, size)
        self.fresh = False  # it is this request's body first
        self.environ[WSGI_INPUT] = make_stream(self.source)
        self.move(READY)
        unlink(&self.link)
        return WAITING

    cdef int begin_chunks(self) except -1:
        if self.chunks == NULL:
            self.chunks = <scan_chunks *>malloc(sizeof(scan_chunks))
            if self.chunks == NULL:
                raise MemoryError()
        scan_chunks_begin(self.chunks)
        return 0

    cdef int read_body(self) except -1:
        cdef Station station = self.station
        cdef uint8_t *into
        cdef size_t room
        cdef ssize_t n
        cdef int i, outcome
        if self.pending_size:
            self.flush()
            if self.pending_size == 0:
                self.watch(EPOLLIN)
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
                if self.body.total + self.chunks.left + length > station.body_limit > 0:
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
            # The length is known now, so applications need not know of chunks (Django reads by it). What is decoded
            # is not chunked any more (RFC 9112 7.1.3): Bottle would decode it again, werkzeug distrust the length.
            self.environ[CONTENT_LENGTH] = str(body.total)
            self.environ.pop(TRANSFER_ENCODING, None)
        try:
            self.environ[WSGI_INPUT] = body.finish()
            if body.large:
                self.spooled = self.environ[WSGI_INPUT]
        except OSError as error:
            return self.spool_failed(error)
        self.body = None
        self.exchange.begin_ns = self.station.ready_ns
        self.move(READY)
        unlink(&self.link)
        return WAITING

    cdef int spool_failed(self, object error) except -1:
        self.station.notice(f"request body could not be spooled: {error}")
        return self.refuse(FAULT_SPOOL)

    # --- streamed body: read by the application, in its thread or greenlet ---

    cdef bytes pull(self, Py_ssize_t most):
        """The next bytes of the body, at most so many; b"" at its end.

        Waits, then raises BodyFault, and whenever it is called again: what comes behind a fault is no body.
        """
        cdef bytes data
        cdef size_t held, used, at, size
        cdef scan_status found
        cdef ssize_t n
        if self.body_over or most <= 0:
            return b""
        if most > PULL_SIZE:
            most = PULL_SIZE
        if self.source.fault is not None:
            raise BodyFault(*self.source.fault)
        if self.expecting:
            self.expecting = False
            # RFC 9110 10.1.1 and 15.2: not when the body is on its way already, and not when the final response is.
            # That said Connection: close, so the client may send the body or not.
            if self.saved == NULL and not self.response.sent:
                self.transmit(CONTINUE, CONTINUE_SIZE, NULL, 0, None, NULL, 0, 0)
        while True:
            held = self.saved_to - self.saved_from
            if not self.chunked_in:
                if <uint64_t>most > self.body_left:
                    most = self.body_left
                if held:
                    size = min(held, <size_t>most)
                    data = (<const char *>(self.saved + self.saved_from))[:size]
                    self.saved_from += size
                else:
                    data = PyBytes_FromStringAndSize(NULL, most)
                    n = self.wait_recv(<uint8_t *>PyBytes_AS_STRING(data), most)
                    if n < most:
                        data = data[:n]
                    size = n
                self.body_left -= size
                if self.body_left == 0:
                    self.end_stream()
                self.exchange.body_in += size
                return data
            if held:
                if self.streamed:  # of the chunk at hand, in what was received
                    size = min(self.streamed, <size_t>most)
                    data = (<const char *>(self.saved + self.saved_from))[:size]
                    self.saved_from += size
                    self.streamed -= size
                    self.exchange.body_in += size
                    return data
                found = scan_chunks_run(
                    self.chunks, self.saved + self.saved_from, held, TRAILER_LIMIT, &used, &at, &size
                )
                if found == SCAN_FAULTY:
                    self.spoil(self.chunks.fault, "the chunks of the request body are malformed")
                if found == SCAN_DATA:
                    if self.exchange.body_in + self.chunks.left + size > self.station.body_limit > 0:
                        self.spoil(FAULT_BODY_TOO_LARGE, "the request body is larger than its limit")
                    self.saved_from += at
                    self.streamed = size
                    continue
                self.saved_from += used
                if found == SCAN_DONE:
                    self.end_stream()
                    return b""
            self.save(NULL, PULL_SIZE)
            self.saved_to += self.wait_recv(self.saved + self.saved_to, PULL_SIZE)

    cdef ssize_t wait_recv(self, uint8_t *data, size_t size) except -1:
        """Receive at least one byte, others being served meanwhile.

        The rate is that of the time which is spent here: what the application does between its reads is not the client's.
        """
        cdef Station station = self.station
        cdef pollfd ready
        cdef ssize_t n
        cdef int64_t since = 0, now, left
        while True:
            # Another thread may have been at it while this one waited: `data` would be nobody's any more.
            if self.state != RUNNING:
                raise BodyFault(0, "the request is over")
            if self.pending_size:
                self.flush()  # the client may wait for that before it sends more: 100 Continue, or of the response
            n = recv(self.descriptor, data, size, 0)
            if n > 0:
                if since:
                    self.body_wait_ns += monotonic_ns() - since
                self.body_mark += n
                return n
            if n == 0 or errno not in (EAGAIN, EINTR):
                self.gone = True
                self.spoil(0, "the client has left before its request body was complete")
            now = monotonic_ns()
            if since == 0:
                since = now
            left = station.queues[<int>WAIT_BODY].span - self.body_wait_ns - (now - since)
            if left <= 0:
                if self.body_mark == 0 or <int64_t>self.body_mark < station.body_least:
                    self.spoil(FAULT_BODY_TIMEOUT, "the request body did not arrive in time")
                since = now
                self.body_wait_ns = 0
                self.body_mark = 0
                left = station.queues[<int>WAIT_BODY].span
            if self.pending_size and station.wait_writable is not None:
                station.wait_writable(self, now + min(left, <int64_t>LOOK_NS))
            elif station.wait_readable is not None:
                station.wait_readable(self, now + left)
            else:
                ready.fd = self.descriptor
                ready.events = POLLIN | POLLOUT if self.pending_size else POLLIN
                with nogil:
                    poll(&ready, 1, <int>min(left // 1000000 + 1, <int64_t>60000))
                PyErr_CheckSignals()  # RequestTimeout comes out of a handler

    cdef int spoil(self, int code, str text) except -1:
        """Reading the body fails, from now on."""
        self.persist = False
        self.source.fault = (code, text)
        raise BodyFault(code, text)

    cdef int end_stream(self) except -1:
        self.body_over = True
        if self.saved_from == self.saved_to:
            self.free_saved()
        else:
            self.fresh = True
        return 0

    cdef int look_for_end(self) except -1:
        """The application answers: if the body's end is here already, the connection may go on."""
        cdef size_t used, at, size
        cdef scan_chunks trial
        if self.chunked_in and self.source.fault is None and self.streamed == 0 and self.saved_to > self.saved_from:
            trial = self.chunks[0]  # the application may go on reading
            if scan_chunks_run(
                &trial, self.saved + self.saved_from, self.saved_to - self.saved_from, TRAILER_LIMIT, &used, &at, &size
            ) == SCAN_DONE:
                self.saved_from += used
                return self.end_stream()
        self.persist = False
        return 0

    # --- bytes kept ---

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

    cdef int release_input(self) except -1:
        """The request is over: its wsgi.input ends with it."""
        cdef object spooled = self.spooled
        if self.source is not None:
            self.source.member = None
            self.source = None
        if spooled is not None:
            self.spooled = None
            try:
                spooled.close()
            except Exception as fault:  # it was the application's to detach, to wrap or to change
                self.tell_fault(fault)
        return 0

    cdef int let_go(self) except -1:
        self.release_input()
        self.free_saved()
        if self.chunks != NULL:
            free(self.chunks)
            self.chunks = NULL
        self.body = None
        return 0

    # --- refusal ---

    cdef int refuse(self, int code) except -1:
        """Answer a request that never reaches the application, and close."""
        cdef Station station = self.station
        cdef tuple answer = <tuple>station.refusals[code]
        cdef bytes text
        self.exchange.begin_ns = monotonic_ns()
        self.exchange.status = answer[0]
        self.persist = False
        station.slot.client_faults += 1
        text = answer[1] + station.stamp[:station.stamp_len] + answer[2]
        if not self.head_only:
            text += answer[3]
        # The kernel's buffer is empty here, or nearly; what it does not take, a client at fault does not get. Nor does
        # it get what would come in the midst of a 100 Continue that it has not taken.
        if self.pending_size:
            self.flush()
        if self.pending_size:
            self.pending = None
            self.pending_size = self.pending_at = 0
        elif send(self.descriptor, PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text), MSG_NOSIGNAL) < 0:
            self.gone = errno not in (EAGAIN, EINTR)
        elif not self.head_only:
            self.exchange.body_out = len(answer[3])
        self.record()
        station.tell_refusal(self.remote_addr, code)
        self.environ = None
        return self.drop() if self.gone else self.linger()
