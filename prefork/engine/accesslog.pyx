# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The access log: a format compiled once, lines put straight into a buffer, the buffer written in batches.

A line cannot be forged. What a client or an application gave is written as it is only where it is printable
ASCII; `"`, `\\`, control bytes, DEL and all above are written \\xNN, as nginx does; so is a space where it would
add a column (h, m, u, U, H). In JSON they are \\u00NN, so that json.loads gives back the native string.
A value is cut after 7 KiB and then ends with `...`.

The worker is never held: pipes and terminals are written without waiting, in slices of whole lines that the
other writers of the same pipe cannot split (PIPE_BUF); what cannot be written stays in the buffer, and lines
that find it full are counted and dropped. trouble() says so once.
"""

from prefork.engine.accessformat import compile_format

from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.ref cimport PyObject
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memchr, memmove, memset

from prefork.engine.accessline cimport (
    SLACK, put_address, put_decimal, put_environ, put_known, put_literal, put_number, put_process,
    put_request_line, put_response, put_span, put_stamp, put_user,
)

cdef extern from "Python.h":
    char *PyBytes_AS_STRING(PyObject *)

cdef extern from "string.h" nogil:
    void *memrchr(const void *, int, size_t)
    char *strerror(int)

cdef extern from "limits.h" nogil:
    size_t PIPE_BUF

cdef extern from "fcntl.h" nogil:
    int open(const char *, int, ...)
    int O_WRONLY, O_APPEND, O_NONBLOCK, O_CLOEXEC, O_NOCTTY

cdef extern from "unistd.h" nogil:
    int close(int)
    int getpid()
    ssize_t write(int, const void *, size_t)

cdef extern from "sys/socket.h" nogil:
    ssize_t send(int, const void *, size_t, int)
    int MSG_DONTWAIT, MSG_NOSIGNAL

cdef extern from "poll.h" nogil:
    cdef struct pollfd:
        int fd
        short events
        short revents
    int poll(pollfd *, unsigned long, int)
    short POLLOUT

cdef extern from "sys/stat.h" nogil:
    cdef struct stat_t "stat":
        unsigned int st_mode
    int fstat(int, stat_t *)
    bint S_ISFIFO(unsigned int)
    bint S_ISCHR(unsigned int)
    bint S_ISSOCK(unsigned int)

cdef extern from "stdio.h" nogil:
    int snprintf(char *, size_t, const char *, ...)

cdef extern from "time.h" nogil:
    ctypedef int clockid_t
    clockid_t CLOCK_REALTIME_COARSE, CLOCK_MONOTONIC_COARSE
    cdef struct timespec:
        long tv_sec
        long tv_nsec
    int clock_gettime(clockid_t, timespec *)

cdef enum:
    BUFFER_SIZE = 65536

cdef enum Way:
    WAY_FILE                 # write(); O_APPEND keeps whole writes together
    WAY_OURS                 # write() to a non-blocking open description of our own
    WAY_POLL                 # write() after poll() said that there is room
    WAY_SOCKET               # send() without waiting


cdef class AccessLog:
    """AccessLog(format, fd): lines of `format` (see accessformat.py) for a descriptor that stays the caller's.

    One thread at a time may call it; the interpreter's lock is enough, no method gives it up.
    """

    def __cinit__(self, str format not None, int fd):
        cdef Piece *piece
        self.fd = self.private_fd = -1
        self.second = -1
        self.format = format
        self.json = format == "json"
        self.compiled = compile_format(format)
        self.pieces = <Piece *>PyMem_Malloc(len(self.compiled) * sizeof(Piece))
        self.buffer = <char *>PyMem_Malloc(BUFFER_SIZE + SLACK)
        if self.pieces == NULL or self.buffer == NULL:
            raise MemoryError
        for source, lowest, text, key, other in self.compiled:
            piece = &self.pieces[self.count]
            piece.source = source
            piece.lowest = lowest
            piece.text = PyBytes_AS_STRING(<PyObject *>text)
            piece.size = <size_t>len(text)
            piece.key = NULL if key is None else <PyObject *>key
            piece.other = NULL if other is None else <PyObject *>other
            self.count += 1
        self.attach(fd)

    def __dealloc__(self):
        self.detach()
        PyMem_Free(self.pieces)
        PyMem_Free(self.buffer)

    # Called by the reactor, outside of requests.

    def flush(self):
        """Write what is pending, as far as that goes without waiting; True: nothing is left."""
        return self.write_out()

    def reopen(self, int fd):
        """Write what the old descriptor still takes, then go on with this one; it may have the same number."""
        cdef char *end
        if not self.write_out() and self.midline:
            # The beginning of this line is in the old file; its rest means nothing in the new one.
            end = <char *>memchr(self.buffer, b'\n', self.pending) + 1
            self.pending -= <size_t>(end - self.buffer)
            memmove(self.buffer, end, self.pending)
            self.drop()
        self.midline = False
        self.error = 0
        self.detach()
        self.attach(fd)

    def trouble(self, double calm=10.0):
        """News for the error log, else None: lines are being dropped, or none were for `calm` seconds."""
        if not self.troubled and self.dropped > self.dropped_before:
            self.troubled = True
            why = "its reader is too slow" if self.error in (0, EAGAIN) else strerror(self.error).decode()
            return f"the access log cannot be written, lines are dropped: {why}"
        if self.troubled and self.error == 0 and coarse_ns() - self.dropped_at >= <int64_t>(calm * 1e9):
            self.troubled = False
            count = self.dropped - self.dropped_before
            self.dropped_before = self.dropped
            return f"the access log is written again; lines dropped: {count}"
        return None

    def record_for_test(self, dict environ, list headers=None, remote=None, *, int status=200, int64_t begin_ns=1,
                        int64_t app_ns=1, int64_t end_ns=1, int64_t queue_ns=0, uint64_t body_in=0,
                        uint64_t body_out=0):
        """record(), with the Exchange's fields as keywords."""
        cdef Exchange exchange
        memset(&exchange, 0, sizeof(Exchange))
        exchange.begin_ns = begin_ns
        exchange.app_ns = app_ns
        exchange.end_ns = end_ns
        exchange.queue_ns = queue_ns
        exchange.body_in = body_in
        exchange.body_out = body_out
        exchange.status = status
        self.record(&exchange, environ, headers, remote)

    # The request path.

    cdef int record(self, Exchange *exchange, dict environ, list headers, object remote) except -1:
        cdef Line line
        self.begin(&line)
        self.put_line(&line, exchange, environ, headers, remote)
        if line.cut and self.pending:
            # After a failure once a tick of the coarse clock (1 to 4 ms) is often enough.
            if self.error == 0 or self.failed_at != coarse_ns():
                self.write_out()
            self.begin(&line)
            self.put_line(&line, exchange, environ, headers, remote)
        if line.cut:
            if self.pending:
                self.drop()
                return 0
            # Longer than the whole buffer: the line ends where that ends.
            if line.at == line.end:
                line.at -= 1
            line.at[0] = b'\n'
            line.at += 1
        self.pending = <size_t>(line.at - self.buffer)
        return 0

    cdef void begin(self, Line *line) noexcept:
        line.at = self.buffer + self.pending
        line.end = self.buffer + BUFFER_SIZE
        line.cut = False
        line.json = self.json

    cdef void put_line(self, Line *line, const Exchange *exchange, dict environ, list headers, object remote) noexcept:
        cdef const Piece *piece = self.pieces
        cdef const Piece *end = self.pieces + self.count
        cdef int source
        while piece < end and not line.cut:
            source = piece.source
            if source == 0:
                put_literal(line, piece.text, piece.size)
            elif source == c'e':
                put_environ(line, environ, piece)
            elif source == c'h':
                put_address(line, environ, remote, piece)
            elif source == c'u':
                put_user(line, environ, piece)
            elif source == c't':
                self.put_time(line)
            elif source == c'r':
                put_request_line(line, environ, piece)
            elif source == c's':
                put_known(line, exchange.status, exchange.status > 0)
            elif source == c'B':
                put_number(line, <int64_t>exchange.body_out)
            elif source == c'b':
                put_known(line, <int64_t>exchange.body_out, exchange.body_out > 0)
            elif source == c'I':
                put_number(line, <int64_t>exchange.body_in)
            elif source == c'T':
                put_span(line, exchange.begin_ns, exchange.end_ns, 1000000000)
            elif source == c'M':
                put_span(line, exchange.begin_ns, exchange.end_ns, 1000000)
            elif source == c'D':
                put_span(line, exchange.begin_ns, exchange.end_ns, 1000)
            elif source == c'L':
                put_decimal(line, exchange.begin_ns, exchange.end_ns)
            elif source == c'A':
                put_span(line, exchange.begin_ns, exchange.app_ns, 1000)
            elif source == c'Q':
                put_number(line, exchange.queue_ns // 1000)
            elif source == c'o':
                put_response(line, headers, piece)
            elif source == c'p':
                put_process(line)
            piece += 1

    cdef void put_time(self, Line *line) noexcept:
        # The text of a second is made once. JSON also has milliseconds (RFC 3339), which the coarse clock
        # gives to within its tick.
        cdef timespec now
        cdef int milli
        clock_gettime(CLOCK_REALTIME_COARSE, &now)
        if now.tv_sec != self.second:
            self.second = now.tv_sec
            self.stamp_size = put_stamp(self.stamp, sizeof(self.stamp), now.tv_sec, self.json)
        if self.json:
            milli = <int>(now.tv_nsec // 1000000)
            self.stamp[21] = <char>(48 + milli // 100)
            self.stamp[22] = <char>(48 + milli // 10 % 10)
            self.stamp[23] = <char>(48 + milli % 10)
        put_literal(line, self.stamp, self.stamp_size)

    cdef void drop(self) noexcept:
        self.dropped += 1
        self.dropped_at = coarse_ns()

    # Writing.

    cdef bint write_out(self) noexcept:
        cdef size_t done = 0
        cdef ssize_t count
        while done < self.pending:
            count = self.write_slice(self.buffer + done, self.pending - done)
            if count < 0 and errno == EINTR:
                continue
            if count <= 0:
                self.error = errno if count < 0 else EAGAIN
                self.failed_at = coarse_ns()
                break
            self.error = 0
            done += <size_t>count
        if done:
            self.midline = self.buffer[done - 1] != b'\n'
            self.pending -= done
            memmove(self.buffer, self.buffer + done, self.pending)
        return self.pending == 0

    cdef ssize_t write_slice(self, const char *data, size_t size) noexcept:
        cdef const char *end
        cdef pollfd room
        if size > self.slice_limit:
            # A longer line goes alone: another writer may split it, but no line beside it.
            end = <const char *>memrchr(data, b'\n', self.slice_limit)
            if end == NULL:
                end = <const char *>memchr(data, b'\n', size)
            size = <size_t>(end + 1 - data)
        if self.way == WAY_FILE:
            return write(self.fd, data, size)
        if self.way == WAY_OURS:
            return write(self.private_fd, data, size)
        if self.way == WAY_SOCKET:
            return send(self.fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL)
        room.fd = self.fd
        room.events = POLLOUT
        if poll(&room, 1, 0) == 0:
            return 0
        return write(self.fd, data, size)

    cdef void attach(self, int fd) noexcept:
        # A pipe or terminal may be shared with processes that expect it to block (a shell's stdout), so its
        # O_NONBLOCK is not ours to set. Opening it again through /proc gives an open description of our own.
        # Where that is refused (no /proc, another user's pipe) poll() goes first, and only a sibling that
        # takes the last room in between can still make us wait for the reader.
        cdef stat_t facts
        cdef char[32] path
        self.fd = fd
        self.way = WAY_FILE
        self.slice_limit = BUFFER_SIZE
        if fstat(fd, &facts) != 0:
            return
        if S_ISSOCK(facts.st_mode):
            self.way = WAY_SOCKET
        elif S_ISFIFO(facts.st_mode) or S_ISCHR(facts.st_mode):
            snprintf(path, sizeof(path), "/proc/self/fd/%d", fd)
            self.private_fd = open(path, O_WRONLY | O_APPEND | O_NONBLOCK | O_CLOEXEC | O_NOCTTY)
            self.way = WAY_POLL if self.private_fd < 0 else WAY_OURS
            if S_ISFIFO(facts.st_mode):
                self.slice_limit = PIPE_BUF

    cdef void detach(self) noexcept:
        if self.private_fd >= 0:
            close(self.private_fd)
            self.private_fd = -1


cdef int64_t coarse_ns() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now)
    return <int64_t>now.tv_sec * 1000000000 + now.tv_nsec
