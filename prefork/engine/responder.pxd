from libc.stdint cimport int64_t, uint64_t
from prefork.engine.receiver cimport Receiver
from prefork.engine.response cimport FileWrapper
from prefork.engine.scoreboard cimport RequestSlot

cdef class Responder(Receiver):
    # request
    cdef bint inside           # the application is being called or iterated
    cdef int forks             # as often had this process been forked when the application was called
    cdef bint asked            # a RequestTimeout is pending in the thread that does it
    cdef RequestSlot *slot     # of the scoreboard, while the application runs
    cdef int slot_index
    # response
    cdef bint chunked_out
    cdef bint bodiless         # HEAD, 204, 304: nothing but the head goes out
    cdef int more              # flags of send: MSG_MORE where the end of the connection follows at once
    cdef bint until_close      # the end of the connection is the end of the body (HTTP/1.0)
    cdef bint ranged           # a file is being iterated: more of it than the Content-Length is no fault
    cdef bint ended            # the application has given its last chunk
    cdef uint64_t length_left

    cdef int emit(self, object result) except -1
    cdef int emit_list(self, object result) except -1
    cdef int emit_file(self, FileWrapper wrapper) except -1
    cdef int give(self, object data) except -1
    cdef int push(self, const char *head, size_t head_size, const char *text, size_t size, object owner,
                  size_t tail_size) except -1
    cdef int end_body(self) except -1
    cdef int open_head(self, int64_t length) except -1
    cdef int app_fault(self, object fault) except -1
    cdef void note_process(self) noexcept
    cdef int check_process(self, object fault) except -1
    cdef void unask(self) noexcept
