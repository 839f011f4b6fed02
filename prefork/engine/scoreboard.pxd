# cython: cdivision=True
# Shared slots: one anonymous mmap made before the first fork. One writer a slot, no locks; readers
# (master, status, metrics, siblings) may see a number that is a moment old, never a torn one:
# every field is an aligned 64-bit word, text is guarded by `sequence` (odd while being written).
#
# The writers of the request path are the three inline functions below: request_begin, request_end and
# count_exchange. A field that they keep is written nowhere else.
from libc.stdint cimport int64_t, uint64_t

from prefork.engine.exchange cimport Exchange

cdef enum:
    HISTOGRAM_BUCKETS = 104  # 4 a doubling of microseconds, the last from 117 s on: bucket() below
    TARGET_SIZE = 160
    METHOD_SIZE = 24

cdef enum:
    WORKER_FREE = 0
    WORKER_BOOTING = 1
    WORKER_SERVING = 2
    WORKER_DRAINING = 3
    WORKER_STOPPED = 4
    WORKER_PARKED = 5

cdef struct WorkerSlot:
    int64_t pid
    int64_t generation
    int64_t state            # scoreboard.WorkerState
    int64_t booted_ns        # monotonic; when it said ready
    int64_t beat_ns          # monotonic, coarse; when its loop last turned
    int64_t connections      # open client connections held
    int64_t running          # requests inside the application now
    int64_t busy_ns          # inside the application, all requests that have left it together
    uint64_t accepted        # connections, ever
    uint64_t requests        # answered, ever
    uint64_t statuses[6]     # by first digit; [0]: the client left before an answer
    uint64_t client_faults   # requests refused by the grammar, limits or deadlines
    uint64_t app_faults      # exceptions out of the application
    uint64_t bytes_in
    uint64_t bytes_out
    uint64_t latency_ns      # the sum of what `latency` counts
    uint64_t queue_ns        # the sum of what `queue` counts
    uint64_t latency[HISTOGRAM_BUCKETS]   # begin_ns to end_ns
    uint64_t queue[HISTOGRAM_BUCKETS]

cdef struct RequestSlot:
    int64_t start_ns         # monotonic; 0: the slot is free
    int64_t deadline_ns      # monotonic; 0: none
    int64_t thread           # native thread id, or a greenlet's number
    int64_t sequence         # odd while method and target are being written
    char method[METHOD_SIZE] # NUL-terminated, cut
    char target[TARGET_SIZE] # as received, NUL-terminated, cut

cdef extern from *:
    """
    #include <string.h>

    /* Text of a request slot, written so that a reader in another process can tell a whole one from one
     * that is being changed. The fences are compiler barriers on x86; elsewhere they order the stores. */
    static inline void prefork_slot_text(int64_t *sequence, char *method, size_t method_size, const char *m,
                                         size_t m_len, char *target, size_t target_size, const char *t,
                                         size_t t_len) {
        int64_t odd = *sequence | 1;
        __atomic_store_n(sequence, odd, __ATOMIC_RELAXED);
        __atomic_thread_fence(__ATOMIC_RELEASE);
        if (m_len >= method_size) m_len = method_size - 1;
        if (t_len >= target_size) t_len = target_size - 1;
        memcpy(method, m, m_len);
        method[m_len] = 0;
        memcpy(target, t, t_len);
        target[t_len] = 0;
        __atomic_store_n(sequence, odd + 1, __ATOMIC_RELEASE);
    }
    #define prefork_store(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)
    """
    int __builtin_clzll(unsigned long long) noexcept nogil
    void prefork_slot_text(int64_t *, char *, size_t, const char *, size_t, char *, size_t, const char *,
                           size_t) noexcept nogil
    void prefork_store(int64_t *, int64_t) noexcept nogil

cdef inline int bucket(int64_t ns) noexcept nogil:
    # Log-linear, 4 buckets a doubling, the first at 1 us; the same numbers for every reader.
    cdef uint64_t us = <uint64_t>ns // 1000 if ns > 0 else 0
    cdef int top, index
    if us < 4:
        return <int>us
    top = 63 - __builtin_clzll(us)
    index = (top - 1) * 4 + <int>((us >> (top - 2)) & 3)
    return index if index < HISTOGRAM_BUCKETS else HISTOGRAM_BUCKETS - 1

cdef inline void request_begin(
    RequestSlot *slot, int64_t start_ns, int64_t deadline_ns, int64_t thread,
    const char *method, size_t method_len, const char *target, size_t target_len,
) noexcept nogil:
    # The application is about to be called. start_ns goes last: whoever sees it sees the rest.
    prefork_slot_text(&slot.sequence, slot.method, METHOD_SIZE, method, method_len,
                      slot.target, TARGET_SIZE, target, target_len)
    slot.deadline_ns = deadline_ns
    slot.thread = thread
    prefork_store(&slot.start_ns, start_ns)

cdef inline void request_end(RequestSlot *slot) noexcept nogil:
    # The application has returned. The text stays: the master reads it when the worker dies next.
    prefork_store(&slot.start_ns, 0)

cdef inline void count_exchange(WorkerSlot *slot, const Exchange *exchange) noexcept nogil:
    # One request is over, answered or given up. Its times and sizes are the Exchange's.
    cdef int digit = exchange.status // 100
    cdef int64_t latency = exchange.end_ns - exchange.begin_ns
    if latency < 0 or exchange.begin_ns == 0:
        latency = 0
    slot.requests += 1
    slot.statuses[digit if 0 < digit < 6 else 0] += 1
    slot.bytes_in += exchange.body_in
    slot.bytes_out += exchange.body_out
    slot.latency_ns += <uint64_t>latency
    slot.latency[bucket(latency)] += 1
    if exchange.queue_ns > 0:
        slot.queue_ns += <uint64_t>exchange.queue_ns
    slot.queue[bucket(exchange.queue_ns)] += 1

cdef class Scoreboard:
    cdef void *memory
    cdef size_t size
    cdef readonly int workers              # worker slots
    cdef readonly int requests_per_worker  # request slots of each worker
    cdef readonly tuple nudges             # eventfd of each worker slot: "there is a connection for you to accept"

    cdef WorkerSlot *worker_slot(self, int worker) noexcept nogil
    cdef RequestSlot *request_slot(self, int worker, int request) noexcept nogil
    cdef int idlest(self, int worker) noexcept nogil
    cdef WorkerSlot *checked_worker(self, int worker) except NULL
    cdef RequestSlot *checked_request(self, int worker, int request) except NULL
