# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False, binding=False
"""Request bodies, whole before the application runs: in memory up to a limit, then in an unlinked file.

So ``wsgi.input`` is a real file object (io.BytesIO or io.BufferedReader) with all that PEP 3333 asks for
and more (seek, tell, fileno for the spooled ones), and a slow upload never reaches the application.
"""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.errno cimport EINTR, errno
from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcpy
from prefork.engine.station cimport Member
from posix.unistd cimport SEEK_SET, close, lseek, write
import io

cdef object BytesIO = io.BytesIO
cdef object FileIO = io.FileIO


cdef class EmptyInput:
    """``wsgi.input`` of a request without a body: at its end from the start, where it stays.

    Has no state, so one serves all: it cannot be closed.
    """

    def read(self, size=-1, /):
        """b"", always."""
        return b""

    def read1(self, size=-1, /):
        """b"", always."""
        return b""

    def readline(self, size=-1, /):
        """b"", always."""
        return b""

    def readlines(self, hint=-1, /):
        """[], always."""
        return []

    def readinto(self, buffer, /):
        """0, always."""
        return 0

    def readinto1(self, buffer, /):
        """0, always."""
        return 0

    def __iter__(self):
        return self

    def __next__(self):
        raise StopIteration

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        pass

    def readable(self):
        """True."""
        return True

    def writable(self):
        """False."""
        return False

    def seekable(self):
        """True."""
        return True

    def seek(self, offset, whence=0, /):
        """0, always: there is no other place."""
        return 0

    def tell(self):
        """0, always."""
        return 0

    def isatty(self):
        """False."""
        return False

    def fileno(self):
        """Raises io.UnsupportedOperation, as that of io.BytesIO does."""
        raise io.UnsupportedOperation("fileno")

    def flush(self):
        """Nothing to write; io.TextIOWrapper asks for it when it is closed."""

    def close(self):
        """Nothing to close."""

    @property
    def closed(self):
        return False


EMPTY_INPUT = EmptyInput()


class SpooledInput(io.BufferedReader):
    """``wsgi.input`` of a large request body: its file, at its start."""

    def __init__(self, raw, size):
        super().__init__(raw, 65536)
        self._size = size

    def read(self, size=-1, /):
        """As BufferedReader.read, which would first allocate all that is asked for, however much that is."""
        if size is not None and size > self._size:
            size = self._size
        return super().read(size)


cdef class Source:
    """A Member seen from Python, while its request runs: what a StreamedInput reads from."""

    def pull(self, Py_ssize_t most):
        # An application may keep its wsgi.input: what comes later on the connection is none of its business.
        if self.member is None:
            raise ValueError("wsgi.input read after the request was over")
        return self.member.pull(most)


cdef object make_stream(Source source):
    """``wsgi.input`` that reads the body from the client while the application runs."""
    return StreamedInput(StreamedBody(source))


class StreamedBody(io.RawIOBase):
    """The raw side of a streamed request body. Raises BodyFault when the client fails."""

    def __init__(self, source):
        self._source = source

    def readable(self):
        """True."""
        return True

    def readinto(self, buffer, /):
        """At least one byte, after waiting for it; 0 at the end."""
        data = self._source.pull(len(buffer))
        buffer[:len(data)] = data
        return len(data)


class StreamedInput(io.BufferedReader):
    """``wsgi.input`` of a streamed request body (--stream-request-body)."""

    def __init__(self, raw):
        super().__init__(raw, 16384)

    def read(self, size=-1, /):
        """As BufferedReader.read, which would first allocate all that is asked for, however much that is."""
        if size is None or size < 0 or size <= 1 << 20:
            return super().read(size)
        parts = []
        while size > 0:
            data = super().read(min(size, 1 << 20))
            if not data:
                break
            parts.append(data)
            size -= len(data)
        return b"".join(parts)


cdef class Body:
    """Takes a request body as it comes. `total` is its size in bytes so far.

    Raises OSError when the spool file cannot be made or written (a full disk).
    """

    def __cinit__(self):
        self.spool = -1

    def __dealloc__(self):
        self.discard()

    cdef void begin(self, uint64_t expected, uint64_t memory_limit, object open_spool):
        """expected: bytes if known, else 0."""
        self.memory_limit = memory_limit
        self.open_spool = open_spool
        self.filled = 0
        self.total = 0
        self.capacity = 0
        self.memory = None
        if expected and expected <= memory_limit:
            self.capacity = expected
            self.memory = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>expected)

    cdef uint8_t *room(self, size_t *size) noexcept:
        """Where the next bytes of a body of known size may be received in place; NULL when not in memory."""
        size[0] = self.capacity - self.filled
        if self.spool >= 0 or self.memory is None or size[0] == 0:
            return NULL
        return <uint8_t *>PyBytes_AS_STRING(self.memory) + self.filled

    cdef int took(self, size_t size) except -1:
        """size bytes were received into room()."""
        self.filled += size
        self.total += size
        return 0

    cdef int append(self, const uint8_t *data, size_t size) except -1:
        self.total += size
        if self.spool < 0 and self.filled + size > self.memory_limit:
            self.spool = self.open_spool()
            if self.filled:
                write_all(self.spool, <const uint8_t *>PyBytes_AS_STRING(self.memory), self.filled)
            self.memory = None
            self.capacity = self.filled = 0
        if self.spool >= 0:
            write_all(self.spool, data, size)
            return 0
        if self.filled + size > self.capacity:
            self.grow(self.filled + size)
        memcpy(PyBytes_AS_STRING(self.memory) + self.filled, data, size)
        self.filled += size
        return 0

    cdef int grow(self, size_t least) except -1:
        cdef size_t size = self.capacity * 2 if self.capacity else 4096
        if size < least:
            size = least
        if size > self.memory_limit and least <= self.memory_limit:
            size = self.memory_limit
        cdef bytes memory = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>size)
        if self.filled:
            memcpy(PyBytes_AS_STRING(memory), PyBytes_AS_STRING(self.memory), self.filled)
        self.memory = memory
        self.capacity = size
        return 0

    cdef object finish(self):
        """The body as a binary file object at its start. The Body is empty afterwards."""
        cdef object memory
        cdef int spool = self.spool
        if spool >= 0:
            self.spool = -1
            if lseek(spool, 0, SEEK_SET) < 0:
                close(spool)
                raise OSError(errno, "request body: lseek")
            self.large = True
            return SpooledInput(FileIO(spool, "rb"), self.total)
        if self.filled == 0:
            return EMPTY_INPUT
        memory = self.memory
        self.memory = None
        if self.filled != self.capacity:
            memory = memory[:self.filled]
        self.capacity = self.filled = 0
        return BytesIO(memory)

    cdef void discard(self) noexcept:
        if self.spool >= 0:
            close(self.spool)
            self.spool = -1
        self.memory = None
        self.capacity = self.filled = 0


cdef int write_all(int descriptor, const uint8_t *data, size_t size) except -1:
    cdef ssize_t n
    while size:
        n = write(descriptor, data, size)
        if n < 0:
            if errno == EINTR:
                continue
            raise OSError(errno, "request body: write to the spool file")
        data += n
        size -= n
    return 0
