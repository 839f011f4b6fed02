from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from prefork.engine.body cimport Body
from prefork.engine.exchange cimport Exchange
from prefork.engine.response cimport FileWrapper, Response
from prefork.engine.scan cimport scan_chunks, scan_head
from prefork.engine.scoreboard cimport RequestSlot
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

cdef class Endpoint:
    cdef readonly Station station
    cdef readonly int descriptor
    cdef dict base
    cdef bint local            # a unix socket: peers have no address

cdef class Connection(Member):
    # connection
    cdef Station station
    cdef Endpoint endpoint
    cdef readonly int descriptor
    cdef int state
    cdef uint32_t interest     # what epoll watches for; 0: not registered
    cdef bint trusted
    cdef object remote_addr
    cdef object remote_port
    cdef uint8_t *saved        # bytes received and not yet used, ours
    cdef size_t saved_from
    cdef size_t saved_to
    cdef size_t saved_size
    cdef scan_head *partial    # a head scanned in part
    # request
    cdef bint head_only        # HEAD
    cdef bint persist          # keep the connection after this response
    cdef bint chunked_in
    cdef bint asked_close      # the client wants the connection closed
    cdef bint fresh            # saved bytes nobody has looked at (pipelined)
    cdef uint64_t body_left    # of a request body with a length
    cdef uint64_t body_mark    # body bytes at the last look at its rate
    cdef scan_chunks *chunks
    cdef Body body
    cdef dict environ
    cdef Exchange exchange
    cdef bint inside           # the application is being called or iterated
    cdef bint asked            # interrupt() has a RequestTimeout pending in the thread
    cdef RequestSlot *slot
    cdef int slot_index
    # response
    cdef Response response
    cdef bint chunked_out
    cdef bint bodiless         # HEAD, 204, 304: nothing but the head goes out
    cdef bint until_close      # the end of the connection is the end of the body (HTTP/1.0)
    cdef object spooled        # the open file of a large request body, ours to close
    cdef bint ranged           # a file is being iterated: more of it than the Content-Length is no fault
    cdef bint ended            # the application has given its last chunk
    cdef bint gone             # the client is; nothing can be sent
    cdef bint cut              # the body stays incomplete, and the client must be able to see that
    cdef uint64_t length_left
    cdef list pending          # bytes objects that the client has not taken yet
    cdef size_t pending_at     # offset into the first
    cdef uint64_t pending_size
    cdef FileWrapper file      # being sent, after what is pending
    cdef int file_descriptor
    cdef int64_t file_at
    cdef uint64_t file_left

    # events; each has an answer in every state
    cpdef int turn(self, uint32_t events) except -1
    cpdef int run(self, bint apart=*) except -1
    cpdef bint retire(self) except -1
    cpdef int abandon(self) except -1
    # receive
    cdef int read(self) except -1
    cdef int look(self, const uint8_t *data, size_t size) except -1
    cdef int begin(self, scan_head *head, const uint8_t *data, size_t size) except -1
    cdef int64_t waited(self) noexcept
    cdef int read_body(self) except -1
    cdef int feed(self, const uint8_t *data, size_t size) except -1
    cdef int body_done(self) except -1
    cdef int save(self, const uint8_t *data, size_t size) except -1
    cdef int keep_rest(self, const uint8_t *data, size_t size) except -1
    cdef void free_saved(self) noexcept
    cdef void free_partial(self) noexcept
    # answer
    cdef int emit(self, object result) except -1
    cdef int emit_list(self, object result) except -1
    cdef int emit_file(self, FileWrapper wrapper) except -1
    cdef int give(self, object data) except -1
    cdef int push(self, const char *head, size_t head_size, const char *text, size_t size, object owner,
                  size_t tail_size) except -1
    cdef int note_request(self) except -1
    cdef int spool_failed(self, object error) except -1
    cdef int abort_visibly(self) except -1
    cdef int end_body(self) except -1
    cdef int open_head(self, int64_t length) except -1
    cdef int app_fault(self, object fault) except -1
    cdef int refuse(self, int code) except -1
    # send
    cdef int transmit(self, const char *head, size_t head_size, const char *data, size_t size, object owner,
                      const char *tail, size_t tail_size, int flags) except -1
    cdef int hold(self, const char *data, size_t size, object owner) except -1
    cdef int flush(self) except -1
    cdef int send_file(self) except -1
    cdef int make_room(self) except -1
    # ends
    cdef int settle(self) except -1
    cdef int finish(self) except -1
    cdef int record(self) except -1
    cdef int linger(self) except -1
    cdef int drop(self) except -1
    cdef int watch(self, uint32_t events) except -1
    cdef int release_file(self) except -1
    cdef int move(self, int state) except -1
