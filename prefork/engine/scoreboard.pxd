# Shared slots: one anonymous mmap made before the first fork. One writer a slot, no locks; readers
# (master, status, metrics, siblings) may see a number that is a moment old, never a torn one:
# every field is an aligned 64-bit word, text is guarded by `sequence` (odd while being written).
from libc.stdint cimport int64_t, uint64_t

cdef enum:
    HISTOGRAM_BUCKETS = 80   # 4 a doubling of microseconds: bucket() below
    TARGET_SIZE = 160
    METHOD_SIZE = 24

cdef struct WorkerSlot:
    int64_t pid
    int64_t generation
    int64_t state            # scoreboard.WorkerState
    int64_t booted_ns        # monotonic; when it said ready
    int64_t beat_ns          # monotonic, coarse; when its loop last turned
    int64_t connections      # open client connections held
    int64_t running          # requests inside the application now
    uint64_t accepted        # connections, ever
    uint64_t requests        # answered, ever
    uint64_t statuses[6]     # by first digit; [0]: the client left before an answer
    uint64_t client_faults   # requests refused by the grammar, limits or deadlines
    uint64_t app_faults      # exceptions out of the application
    uint64_t bytes_in
    uint64_t bytes_out
    uint64_t latency[HISTOGRAM_BUCKETS]   # begin_ns to end_ns
    uint64_t queue[HISTOGRAM_BUCKETS]

cdef struct RequestSlot:
    int64_t start_ns         # monotonic; 0: the slot is free
    int64_t deadline_ns      # monotonic; 0: none
    int64_t thread           # native thread id, or a greenlet's number
    int64_t sequence         # odd while method and target are being written
    char method[METHOD_SIZE] # NUL-terminated, cut
    char target[TARGET_SIZE] # as received, NUL-terminated, cut

cdef inline int bucket(int64_t ns) noexcept nogil:
    # Log-linear, 4 buckets a doubling, the first at 1 us; the same numbers for every reader.
    cdef uint64_t us = <uint64_t>ns // 1000 if ns > 0 else 0
    cdef int top, index
    if us < 4:
        return <int>us
    top = 63 - __builtin_clzll(us)
    index = (top - 1) * 4 + <int>((us >> (top - 2)) & 3)
    return index if index < HISTOGRAM_BUCKETS else HISTOGRAM_BUCKETS - 1

cdef extern from *:
    int __builtin_clzll(unsigned long long) noexcept nogil

cdef class Scoreboard:
    cdef void *memory
    cdef size_t size
    cdef readonly int workers              # worker slots
    cdef readonly int requests_per_worker  # request slots of each worker
    cdef readonly tuple nudges             # eventfd of each worker slot: "there is a connection for you to accept"

    cdef WorkerSlot *worker_slot(self, int worker) noexcept nogil
    cdef RequestSlot *request_slot(self, int worker, int request) noexcept nogil
    cdef int idlest(self, int worker) noexcept nogil
