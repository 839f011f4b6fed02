# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False, binding=False
"""From what the application gives to bytes for the client: framing, files, faults (PEP 3333, RFC 9112 6)."""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memcpy
from prefork.engine.client cimport Client
from prefork.engine.receiver cimport Receiver
from prefork.engine.response cimport FileWrapper, Response
from prefork.engine.station cimport Station
from posix.unistd cimport _exit
import io
import sys

from prefork.engine.intake import BodyFault

cdef extern from "sys/socket.h" nogil:
    enum:
        MSG_MORE

cdef extern from "sys/stat.h" nogil:
    struct stat_t "stat":
        int64_t st_size
        unsigned int st_mode
    int fstat(int descriptor, stat_t *facts)
    bint S_ISREG(unsigned int mode)

cdef extern from "Python.h":
    int PyThreadState_SetAsyncExc(unsigned long thread, void *exception)
    unsigned long PyThread_get_thread_ident()

cdef extern from "octets.h" nogil:
    size_t octets_decimal(char *out, uint64_t number)
    size_t octets_hex(char *out, uint64_t number)

cdef extern from *:
    """
    #include <pthread.h>
    /* Forks between the first process of all and this one. (vfork(2) and posix_spawn(3) are not among them.) */
    static int process_forks;
    static void process_forked(void) { process_forks++; }
    """
    int process_forks
    int pthread_atfork(void *prepare, void *parent, void *child)
    void process_forked()

pthread_atfork(NULL, NULL, <void *>process_forked)

# Engine fault codes (prefork/errors.py).
cdef enum:
    FAULT_APP = 67
    FAULT_REQUEST_TIMEOUT = 69

cdef enum:
    COPIED = 1024        # bytes of a body that are copied behind the head
    JOIN_LIMIT = 1 << 20 # a list of chunks up to this many bytes goes out as one

cdef object FileIO = io.FileIO
cdef object BufferedReader = io.BufferedReader
cdef object BufferedRandom = io.BufferedRandom
cdef bytes NOTHING = b""


class RequestTimeout(BaseException):
    """Raised inside a request that has run longer than --timeout. No Exception: applications catch those."""


cdef class Responder(Receiver):
    """A Receiver that answers."""

    cdef int emit(self, object result) except -1:
        """Send what the application returned, and close it exactly once (PEP 3333)."""
        cdef object shut
        self.check_process(None)
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
                self.check_process(None)
                self.end_body()
        except BaseException as fault:
            self.app_fault(fault)
            if self.file is result:
                return 0  # what there is of it goes out yet; whoever has sent it closes it
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
            total += PyBytes_GET_SIZE(data)
        if not self.response.sent and self.response.status:
            if total <= JOIN_LIMIT:
                data = result[0] if len(result) == 1 else NOTHING.join(result)
                result = (data,)
            self.open_head(total)
        if not self.persist and not self.until_close and self.station.post_request is None:
            # Nothing comes between this and the end of the connection: let both go in one segment.
            self.more = MSG_MORE
        for data in result:
            if self.give(data):
                return 0
        return self.end_body()

    cdef int emit_file(self, FileWrapper wrapper) except -1:
        """Begin to send a plain file from where it stands; it is closed once it is sent. 0: iterate instead."""
        cdef Response response = self.response
        cdef stat_t facts
        cdef object source
        cdef int descriptor
        cdef int64_t at, size
        cdef size_t head_len
        if not self.station.use_sendfile:
            return 0
        source = plain_file(wrapper.filelike)
        if source is None:
            return 0
        if isinstance(source, BufferedRandom):
            source.flush()  # read() gives what was written to it, of which the kernel need not know yet
        descriptor = source.fileno()
        # The files of /proc say that they are empty, and give something when they are read.
        if fstat(descriptor, &facts) != 0 or not S_ISREG(facts.st_mode) or facts.st_size == 0:
            return 0
        if response.status == 0:
            raise AssertionError("the application returned before it called start_response")
        at = source.tell()
        size = facts.st_size - at if facts.st_size > at else 0
        if not response.sent:
            self.open_head(size)
        if self.gone:
            return 0
        if self.bodiless:
            size = 0  # and nothing of it is read
        elif not response.has_length:
            return 0
        elif <uint64_t>size > self.length_left:
            size = self.length_left
        head_len = response.head_len
        response.head_len = 0
        if head_len:
            self.transmit(response.head, head_len, NULL, 0, None, NULL, 0, MSG_MORE if size else 0)
        # Not before the head is on its way: what flushes bytes sends the file behind them.
        self.file = wrapper
        self.file_descriptor = descriptor
        self.file_at = at
        self.file_left = size
        self.length_left -= size
        self.exchange.body_out += size
        self.end_body()
        if self.pending_size == 0 and not self.gone:
            self.send_file()
        return 1

    cdef int chunk(self, object data) except -1:
        """Send one chunk; return when the next may be made. 1: the client is gone, 2: the response has ended."""
        cdef int outcome
        self.check_process(None)
        outcome = self.give(data)
        if outcome:
            return outcome
        if self.pending_size > self.station.response_limit:
            self.make_room()
        return 1 if self.gone else 0

    cdef int give(self, object data) except -1:
        """Send one chunk, or hold it. There is no use in making more where 1: the client is gone, 2: this was all."""
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
            return 1 if self.gone else 2
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
                    return 2  # a file is sent as far as its Content-Length says (PEP 3333)
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
        cdef Response response = self.response
        response.head_len = 0
        self.exchange.body_out += size
        if size <= COPIED and tail_size == 0 and head == response.head and head_size + size <= response.head_size:
            # One piece costs the kernel less than two.
            memcpy(response.head + head_size, text, size)
            self.transmit(head, head_size + size, NULL, 0, None, NULL, 0, self.more)
        else:
            self.transmit(head, head_size, text, size, owner, b"\r\n", tail_size, self.more)
        if self.gone:
            self.exchange.body_out -= size  # nothing of it was taken, nor is it held
        return 0

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
            self.transmit(response.head, size, NULL, 0, None, NULL, 0, self.more)
        if response.has_length and self.length_left and not self.bodiless:
            self.cut = True
            raise ValueError(f"the application gave {self.length_left} bytes less than its Content-Length")
        return 0

    cdef int open_head(self, int64_t length) except -1:
        """Decide the framing and complete the head (RFC 9112 6). length: of the body when known, else -1."""
        cdef Response response = self.response
        cdef Station station = self.station
        cdef char number[24]
        cdef bint without
        response.sent = True
        if self.slot != NULL and self.slot_index >= 0:
            station.unanswered[self.slot_index] = -1
        response.reserve(0)
        self.exchange.status = response.status
        without = response.status != 200 and response.status in (204, 205, 304)
        self.bodiless = without or self.head_only
        if without:
            # RFC 9110 8.6: nor a length, whatever the application gives. (Its own is left to a 304.)
            if response.status == 205:
                # 15.3.6: no content, but the client looks for the end of it as with any other.
                response.put(b"Content-Length: 0\r\n", 19)
        elif response.has_length:
            self.length_left = response.length
        elif self.head_only:
            if length > 0:
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
        elif station.partings > 0 and self.persist:
            station.partings -= 1
            self.persist = False
        if self.source is not None and not self.body_over:
            self.look_for_end()
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
        hints = Response.__new__(Response)  # without callables, which would make a cycle
        hints.start("200 ", headers)
        if hints.has_length:
            raise ValueError("early_hints: Content-Length has no place in a 103")
        if hints.head_len > self.station.limits.head_size:
            raise ValueError(f"early_hints: {hints.head_len} bytes of header fields, more than any client is asked to take")
        # The status line of a final response was only a stand-in for the check of the fields.
        hints.put(b"\r\n", 2)
        cdef bytes text = b"HTTP/1.1 103 Early Hints\r\n" + hints.head[15:hints.head_len]
        self.transmit(PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text), NULL, 0, None, NULL, 0, 0)
        if self.pending_size > self.station.response_limit:
            self.make_room()
        return 0

    cdef int app_fault(self, object fault) except -1:
        """An exception out of the application: told once; the client gets a 500 or sees the body cut."""
        cdef Response response = self.response
        cdef tuple answer
        cdef int code = FAULT_APP
        self.inside = False
        self.check_process(fault)
        self.unask()
        if self.gone and isinstance(fault, (ConnectionError, BodyFault)):
            return 0  # its read or write was told that the client left
        if isinstance(fault, RequestTimeout):
            code = FAULT_REQUEST_TIMEOUT  # told by whoever raised it, with all stacks
        elif isinstance(fault, BodyFault) and fault.code:
            code = fault.code
            self.station.slot.client_faults += 1
        else:
            self.tell_fault(fault)
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
        response.put(b"Content-Type: text/plain; charset=iso-8859-1\r\n", 46)
        self.persist = False
        self.open_head(len(answer[3]))
        self.give(answer[3])
        return self.end_body()

    # --- the process ---

    cdef void note_process(self) noexcept:
        self.forks = process_forks

    cdef int check_process(self, object fault) except -1:
        """Whether this is still the worker, and not a child that the application has forked.

        Such a child came back out of the application, by sys.exit() or in some other way. It ends here: the
        connection, the epoll instance and the listeners are its parent's.
        """
        if self.forks == process_forks:
            return 0
        cdef int code = 1
        if isinstance(fault, SystemExit):
            if fault.code is None or isinstance(fault.code, int):
                code = (fault.code or 0) & 0xff
            else:
                print(fault.code, file=sys.stderr)
        elif fault is not None:
            self.tell_fault(fault)
        else:
            self.station.notice("a process that the application forked has returned from it: ended")
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (AttributeError, OSError, ValueError):  # none, full or closed
                pass
        _exit(code)

    cdef void unask(self) noexcept:
        """The application is left: a RequestTimeout that has not come yet would be raised in our own code."""
        if self.asked:
            self.asked = False
            PyThreadState_SetAsyncExc(PyThread_get_thread_ident(), NULL)


cdef object plain_file(object filelike):
    """The plain file that filelike.read() reads by itself, or None.

    A descriptor does not make one: a GzipFile has a fileno() too, and so has a BufferedReader above it. A class of the
    application's own does as long as it reads like io's (a file that is removed when it is closed).
    """
    cdef object reader = getattr(filelike, "read", None)
    cdef object names = getattr(reader, "__globals__", None)
    cdef object source, raw, kind
    if type(names) is dict and (<dict>names).get("__name__") == "tempfile":
        reader = getattr(reader, "__wrapped__", None)  # its wrappers hand the call on as it is
    source = getattr(reader, "__self__", None)
    if isinstance(source, FileIO):
        raw = source
        kind = FileIO
    else:
        kind = BufferedRandom if isinstance(source, BufferedRandom) else BufferedReader
        if not isinstance(source, kind):
            return None
        raw = source.raw
        if not isinstance(raw, FileIO) or type(raw).readinto is not FileIO.readinto:
            return None
    if type(source).read is not kind.read or reader != source.read:
        return None
    try:
        return source if raw.readable() else None
    except ValueError:  # it is closed, as read() will say
        return None
