from libc.stdint cimport int64_t, uint32_t, uint64_t
from prefork.engine.exchange cimport Exchange
from prefork.engine.response cimport FileWrapper, Response
from prefork.engine.station cimport Member, Station

cdef enum State:
    OPEN = 0       # no byte of a request is here (new, or kept alive)
    HEAD = 1       # part of a head
    BODY = 2       # the head is here, part of the body
    READY = 3      # a whole request waits for a runner
    RUNNING = 4    # the application has it
    FLUSH = 5      # the response waits for the client to take it
    LINGER = 6     # our side is shut; what the client still sends is dropped (RFC 9112 9.6)
    CLOSED = 7
    STATES = 8

cdef enum Outcome:
    KEEP = 0       # nothing to do until the next event
    PIPELINED = 1  # bytes of a further request are here: turn again after the others had their turn
    WAITING = 2    # READY: give it to a runner
    GONE = 3       # CLOSED
    LOST = 8       # a bit beside the others: the reactor is another thread's now

cdef class Client(Member):
    # connection
    cdef Station station
    cdef readonly int descriptor
    cdef int state
    cdef uint32_t interest     # what epoll watches for; 0: not registered
    cdef object remote_addr
    # request
    cdef dict environ
    cdef Exchange exchange
    cdef Response response
    # what goes out
    cdef list pending          # bytes objects that the client has not taken yet
    cdef size_t pending_at     # offset into the first
    cdef uint64_t pending_size
    cdef FileWrapper file      # being sent, after what is pending
    cdef int file_descriptor
    cdef int64_t file_at
    cdef uint64_t file_left
    cdef bint gone             # the client is; nothing can be sent
    cdef bint cut              # the body stays incomplete, and the client must be able to see that

    cdef int move(self, int state) except -1
    cdef int watch(self, uint32_t events) except -1
    cdef int transmit(self, const char *head, size_t head_size, const char *data, size_t size, object owner,
                      const char *tail, size_t tail_size, int flags) except -1
    cdef int hold(self, const char *data, size_t size, object owner) except -1
    cdef int flush(self) except -1
    cdef int send_file(self) except -1
    cdef ssize_t copy_file(self) noexcept
    cdef int make_room(self) except -1
    cdef int release_file(self) except -1
    cdef void tell_fault(self, object fault) noexcept
    cdef int record(self) except -1
    cdef int linger(self) except -1
    cdef int abort_visibly(self) except -1
    cdef int drop(self) except -1
    cdef int let_go(self) except -1
