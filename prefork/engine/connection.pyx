# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False, binding=False
"""One connection: what happens to it, and the call of the application in the middle.

Everything that reaches a connection is one of five events, and each has an answer in every state: `turn` (its
descriptor is ready), `run` (a runner has taken the request), `expired` (its deadline passed), `retire` (the
worker drains) and `abandon` (the worker stops).

All but `run` are called by the thread that owns the reactor. `run` may be called by another one; between
the call of the application and its return nobody else touches the connection.
"""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.ref cimport Py_DECREF, Py_INCREF, PyObject
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from prefork.engine.baton cimport baton, baton_enter, baton_judge, baton_leave
from prefork.engine.client cimport (
    BODY, CLOSED, FLUSH, GONE, HEAD, KEEP, LINGER, LOST, OPEN, PIPELINED, READY, RUNNING, WAITING,
)
from prefork.engine.receiver cimport NOTABLE_NS
from prefork.engine.responder cimport Responder
from prefork.engine.response cimport Response
from prefork.engine.scoreboard cimport request_begin
from prefork.engine.station cimport PARKED, WAIT_BODY, WAIT_HEAD, WAIT_IDLE, WAIT_WRITE, Station, monotonic_ns

from prefork.engine.client import FOLLOWS, STATE_NAMES
from prefork.engine.intake import BodyFault
from prefork.engine.responder import RequestTimeout

cdef extern from "sys/socket.h" nogil:
    ssize_t recv(int descriptor, void *data, size_t size, int flags)
    ssize_t send(int descriptor, const void *data, size_t size, int flags)
    int shutdown(int descriptor, int how)
    enum:
        MSG_NOSIGNAL
        MSG_PEEK
        SHUT_RDWR
        SHUT_WR

cdef extern from "sys/epoll.h" nogil:
    enum:
        EPOLLERR
        EPOLLET
        EPOLLHUP
        EPOLLIN
        EPOLLOUT

cdef extern from *:
    """
    #include <sys/syscall.h>
    #include <unistd.h>
    /* gettid(2) once a thread, not once a request. */
    static inline long native_thread(void) {
        static __thread long id;
        if (!id)
            id = syscall(SYS_gettid);
        return id;
    }
    """
    long native_thread() nogil

cdef extern from "Python.h":
    int PyThreadState_SetAsyncExc(unsigned long thread, PyObject *exception)
    const uint8_t *PyUnicode_1BYTE_DATA(object text)
    Py_ssize_t PyUnicode_GET_LENGTH(object text)

# Engine fault codes (prefork/errors.py).
cdef enum:
    FAULT_HEAD_TIMEOUT = 65
    FAULT_BODY_TIMEOUT = 66
    FAULT_REQUEST_TIMEOUT = 69

# Neither readable nor writable: only the end of the connection is told, once.
cdef uint32_t QUIET = <uint32_t>EPOLLET
cdef str EARLY_HINTS = "wsgi.early_hints"
cdef str QUEUE_MS = "prefork.queue_ms"
cdef str REQUEST_METHOD = "REQUEST_METHOD"
cdef str RAW_URI = "RAW_URI"


cdef bint making = False


cdef Connection make_connection():
    """A Connection without a client. Only C can make one: without a station its methods have nothing to stand on."""
    global making
    making = True
    return Connection.__new__(Connection)


cdef class Connection(Responder):
    """One accepted client. Made by an Endpoint."""

    def __cinit__(self):
        global making
        if not making:
            raise TypeError("a Connection is made by an Endpoint")
        making = False

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
            if self.state == FLUSH and (self.gone or not (self.pending_size or self.file is not None)):
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
            # Asked again, for the event may be that of an earlier holder of the descriptor.
            if events & (EPOLLERR | EPOLLHUP) and self.left():
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
        cdef int64_t ready_ns = self.exchange.begin_ns
        if self.state != READY:
            return GONE if self.state == CLOSED else KEEP
        self.exchange.begin_ns = monotonic_ns()
        self.exchange.queue_ns += self.exchange.begin_ns - ready_ns
        if self.exchange.queue_ns >= NOTABLE_NS:
            if self.turn_away():
                return GONE if self.state == CLOSED else KEEP
            self.environ[QUEUE_MS] = self.exchange.queue_ns / 1e6
        self.move(RUNNING)
        if station.parked_count:
            station.parked_count -= 1
            response = <Response>station.parked[station.parked_count]
            Py_DECREF(response)
        else:
            response = Response()
        response.begin(self)
        self.response = response
        self.note_request()
        self.note_process()
        station.slot.running += 1
        if lead != NULL and not apart:
            entered = baton_enter(lead, self.exchange.begin_ns)
        try:
            self.environ[EARLY_HINTS] = response.hints_bound
            self.inside = True
            if station.pre_request is not None:
                station.pre_request(self.environ)
            result = station.application(self.environ, response.start_bound)
            self.emit(result)
            self.inside = False
        except BaseException as fault:
            self.app_fault(fault)
        self.unask()
        result = None
        # The turn's clock is as old as the request took: deadlines would begin in the past.
        self.exchange.app_ns = station.now = monotonic_ns()
        if lead != NULL:
            baton_judge(lead, self.exchange.app_ns - self.exchange.begin_ns)
            if not apart and not baton_leave(lead, entered):
                lost = LOST
        station.slot.running -= 1
        station.slot.busy_ns += self.exchange.app_ns - self.exchange.begin_ns
        station.free_request(self.slot, self.slot_index)
        self.slot = NULL
        return self.settle() | lost

    cdef int expired(self) except -1:
        cdef uint64_t got
        if self.state == OPEN:
            if self.quiet():
                self.drop()
            else:
                self.station.enqueue(self, WAIT_HEAD)
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
        if self.state != OPEN:
            return False
        if not self.quiet():
            return True
        self.linger()
        return False

    cpdef bint quiet(self) except -1:
        """Between requests, and no byte of a next one is here: it can be closed without a loss."""
        cdef char byte
        return self.state == OPEN and not self.fresh and recv(self.descriptor, &byte, 1, MSG_PEEK) <= 0

    cpdef int abandon(self) except -1:
        """The worker stops now: end the connection in whatever state it is, visibly when inside a response."""
        if self.state == RUNNING or self.state == CLOSED:
            return KEEP
        if self.state == FLUSH:
            self.gone = self.cut = True
            return self.finish()
        return self.drop()

    # --- between request and request ---

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
        cdef int more = self.more
        cdef char byte
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
            try:
                station.post_request(
                    self.environ, self.exchange.status,
                    response.last_status if response.last_code == self.exchange.status else None,
                    response.headers, self.exchange.body_out,
                )
            except BaseException as fault:
                self.tell_fault(fault)
        self.response = None
        self.environ = None  # before end(): it holds one of the response's callables
        if self.source is not None and not self.body_over:
            self.persist = self.asked_close = self.fresh = False
        self.release_input()
        if response.end() and station.parked_count < PARKED:
            Py_INCREF(response)
            station.parked[station.parked_count] = <PyObject *>response
            station.parked_count += 1
        else:
            response.unbind()
        self.chunked_out = self.ended = self.bodiless = self.ranged = self.until_close = self.cut = False
        self.more = 0
        if self.persist and not broken:
            self.move(OPEN)
            if self.interest != EPOLLIN:
                self.watch(EPOLLIN)
            station.enqueue(self, WAIT_HEAD if self.fresh else WAIT_IDLE)
            return PIPELINED if self.fresh else KEEP
        # A client that said that it sends no more (RFC 9112 9.6) can lose nothing by closing at once. But some send
        # a line end behind a body (RFC 9112 2.2), and to close over unread bytes would be a reset.
        if broken or (
            self.asked_close and not self.fresh
            and not (self.exchange.body_in and recv(self.descriptor, &byte, 1, MSG_PEEK) > 0)
        ):
            if more:
                # For bytes may come until the close itself, and the answer has not left yet: it goes with this.
                shutdown(self.descriptor, SHUT_WR)
            return self.drop()
        return self.linger()

    # --- a request that takes too long (called while another frame is inside run) ---

    @property
    def inside_application(self):
        """Whether the application is being called, or iterated."""
        return self.inside

    @property
    def began(self):
        """When the application was called for the request at hand (monotonic ns): tells requests apart."""
        return self.exchange.begin_ns

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
        if self.pending_size:
            self.flush()
        if not self.response.sent and self.pending_size == 0:  # not in the midst of hints that are held
            answer = <tuple>self.station.refusals[FAULT_REQUEST_TIMEOUT]
            text = answer[1] + self.station.stamp[:self.station.stamp_len] + answer[2]
            if not self.head_only:
                text += answer[3]
                self.exchange.body_out = len(answer[3])
            send(self.descriptor, PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text), MSG_NOSIGNAL)
            self.response.sent = True
            self.exchange.status = answer[0]
        elif self.until_close:
            self.abort_visibly()
        self.gone = True
        self.cut = True
        # An application that waits for more of a streamed body is woken by the end of it.
        shutdown(self.descriptor, SHUT_RDWR if self.source is not None and not self.body_over else SHUT_WR)
