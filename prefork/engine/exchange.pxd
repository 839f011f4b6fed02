# The plain facts of one request and its answer: filled by Connection, read by AccessLog and by the
# scoreboard. Times are monotonic nanoseconds, sizes are bytes; 0 means "did not happen".
from libc.stdint cimport int64_t, uint64_t

cdef struct Exchange:
    int64_t begin_ns      # the whole request is here, the application is about to be called
    int64_t app_ns        # the application has given its last chunk
    int64_t end_ns        # the last byte was handed to the kernel, or the client was given up
    int64_t queue_ns      # a span: how long the request waited for this worker before begin_ns
    uint64_t body_in      # bytes of request body, without framing
    uint64_t body_out     # bytes of response body handed to the kernel, without framing
    int status            # as sent; 0 when nothing was sent
    int minor             # HTTP/1.minor of the request
