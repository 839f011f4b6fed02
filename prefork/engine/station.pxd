from cpython.ref cimport PyObject
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from prefork.engine.accesslog cimport AccessLog
from prefork.engine.baton cimport Baton, baton
from prefork.engine.environ cimport EnvironTable
from prefork.engine.scan cimport scan_head, scan_limits
from prefork.engine.scoreboard cimport RequestSlot, Scoreboard, WorkerSlot

cdef extern from "sys/epoll.h" nogil:
    ctypedef union epoll_data_t:
        int fd
    struct epoll_event:
        unsigned int events
        epoll_data_t data

cdef enum:
    EVENTS = 64                # a poll
    PARKED = 256
    LATE_NS = 1000000          # a turn that has lasted so long is long

cdef enum Wait:
    WAIT_HEAD = 0      # for a whole request head
    WAIT_BODY = 1      # for request body bytes
    WAIT_IDLE = 2      # kept alive, between requests
    WAIT_WRITE = 3     # for the client to take bytes
    WAIT_LINGER = 4    # for the client to close its side
    WAITS = 5

# One deadline of one member, in the queue of what it waits for.
cdef struct Link:
    Link *before
    Link *after
    int64_t deadline
    void *owner        # borrowed: a member unlinks itself before it goes

cdef struct Queue:
    Link ends          # sentinel: after is the earliest, before the latest
    int64_t span       # every link waits equally long, so appending keeps the order

cdef class Member:
    cdef Link link
    cpdef int turn(self, uint32_t events) except -1
    cdef int expired(self) except -1
    cdef int chunk(self, object data) except -1
    cdef int hint(self, list headers) except -1
    cdef bytes pull(self, Py_ssize_t most)

cdef class Station:
    # process
    cdef readonly dict members             # descriptor -> what turns when it is ready
    cdef readonly EnvironTable environs
    cdef readonly AccessLog access_log     # or None
    cdef Scoreboard scoreboard
    cdef WorkerSlot *slot
    cdef int worker
    cdef int epoll
    cdef scan_limits limits
    cdef uint64_t body_limit
    cdef uint64_t body_memory_limit
    cdef uint64_t response_limit
    cdef int64_t body_least                # bytes a client must send in one body span
    cdef int64_t request_span              # ns a request may take; 0: no limit
    cdef bint use_sendfile
    cdef bint stream_bodies
    cdef tuple refusals                    # by fault code: (status, bytes after the status line's date)
    cdef object trusted                    # peer address -> bool
    cdef object open_spool                 # () -> descriptor of an unlinked file
    cdef object on_app_fault               # (environ, exception)
    cdef object on_refusal                 # (remote, code)
    cdef object on_notice                  # (text)
    cdef object pre_request
    cdef object post_request
    cdef public object wait_writable       # (connection, deadline ns) -> bool; None: poll(2) here
    cdef public object wait_readable       # the same for bytes of a streamed request body
    cdef object application
    cdef public uint64_t quota             # requests after which `spent` is true; 0: never
    cdef public bint spent                 # whoever sets another quota sets it back
    cdef public bint hold                  # turn() does not run what is READY: whoever gets WAITING does
    cdef Baton lead_owner
    cdef baton *lead                       # the turn, where threads share the reactor; else NULL

    # loop
    cdef public bint draining
    cdef public int partings               # answers that are still to say close, though nobody drains
    cdef public bint closed                # the listeners are not this worker's to accept from
    cdef readonly bint exhausted           # accept found no descriptor; cleared when one is closed
    cdef int64_t now                       # ns, monotonic, of this turn
    cdef int64_t slept_ns                  # ns, monotonic: when the loop last looked how long it may sleep
    cdef int64_t woke_ns                   # ns, monotonic: when it last woke, the GIL not yet taken
    cdef bint busy                         # the last poll found events at once
    cdef readonly int found                # events that the last poll gave
    cdef int asked                         # as many as it could have given
    cdef epoll_event events[EVENTS]
    cdef int served                        # as many of them have had their turn
    cdef int full_polls                    # one after the other, that gave as many as they could
    cdef int64_t full_since_ns             # ns, monotonic: the first of them
    cdef int64_t told_ns                   # ns, monotonic: whatever came before that, epoll has told
    cdef bint lagged                       # the turn before this one took long: what is ready may have waited
    cdef int64_t queue_limit               # ns a request may have waited for this worker; 0: no limit
    cdef int64_t ready_ns                  # ns, monotonic: when epoll told of this turn's events
    cdef Queue queues[WAITS]
    cdef uint8_t *buffer
    cdef size_t buffer_size
    cdef scan_head head
    cdef char stamp[128]                   # "Server: ...\r\nDate: ...\r\n"
    cdef size_t stamp_len
    cdef size_t server_len                 # the Server line's share of the stamp
    cdef int64_t stamp_second
    cdef PyObject *parked[PARKED]          # Response objects between requests, owned
    cdef int parked_count
    cdef PyObject **runners                # by request slot: the member that runs there, borrowed; or NULL
    cdef int *unanswered                   # by request slot: the descriptor, while no response has begun; or -1
    cdef int *free_requests                # free request slots, the last one is taken next
    cdef int free_count
    cdef RequestSlot *take_request(self, int *index, Member member) noexcept
    cdef void free_request(self, RequestSlot *slot, int index) noexcept
    cdef RequestSlot *slot_of(self, Member member) noexcept

    cdef Queue *queue(self, int wait) except NULL
    cdef int fill(self, double span, int most) except -1
    cdef void begin_turn(self) noexcept
    cdef void enqueue(self, Member member, int wait) noexcept
    cdef int gather(self, int most, int milliseconds) except -1
    cdef void look(self) noexcept
    cdef void restamp(self) noexcept
    cdef void notice(self, str text) noexcept
    cdef void tell_refusal(self, object remote, int code) noexcept
    cdef tuple format_refusals(self, dict refusals)

cdef void unlink(Link *link) noexcept nogil
cdef int64_t monotonic_ns() noexcept nogil
