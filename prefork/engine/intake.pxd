from libc.stdint cimport int64_t, uint8_t, uint64_t
from prefork.engine.body cimport Body, Source
from prefork.engine.client cimport Client
from prefork.engine.scan cimport scan_chunks, scan_head

cdef class Intake(Client):
    # connection
    cdef uint8_t *saved        # bytes received and not yet used, ours
    cdef size_t saved_from
    cdef size_t saved_to
    cdef size_t saved_size
    cdef bint fresh            # they are a further request's, and nobody has looked at them
    # request
    cdef bint head_only        # HEAD
    cdef bint persist          # keep the connection after this response
    cdef bint chunked_in
    cdef uint64_t body_left    # of a request body with a length
    cdef uint64_t body_mark    # body bytes at the last look at its rate; of a streamed one, received since
    cdef int64_t body_wait_ns  # how long the application has waited for them
    cdef scan_chunks *chunks
    cdef Body body
    cdef object spooled        # the open file of a large request body, ours to close
    cdef Source source         # the application reads the body itself, from here; else None
    cdef bint body_over        # it has read all of it
    cdef bint expecting        # the client waits for 100 Continue
    cdef size_t streamed       # bytes of the chunk at hand that are in `saved`

    cdef int begin_body(self, scan_head *head, const uint8_t *rest, size_t size) except -1
    cdef int begin_stream(self, scan_head *head, const uint8_t *rest, size_t size) except -1
    cdef int begin_chunks(self) except -1
    cdef int read_body(self) except -1
    cdef int feed(self, const uint8_t *data, size_t size) except -1
    cdef int body_done(self) except -1
    cdef int spool_failed(self, object error) except -1
    cdef ssize_t wait_recv(self, uint8_t *data, size_t size) except -1
    cdef int spoil(self, int code, str text) except -1
    cdef int end_stream(self) except -1
    cdef int look_for_end(self) except -1
    cdef int save(self, const uint8_t *data, size_t size) except -1
    cdef int keep_rest(self, const uint8_t *data, size_t size) except -1
    cdef void free_saved(self) noexcept
    cdef int release_input(self) except -1
    cdef int refuse(self, int code) except -1
