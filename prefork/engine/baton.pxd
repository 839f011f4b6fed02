from libc.stdint cimport int64_t, uint64_t

cdef extern from "baton.h" nogil:
    ctypedef struct baton:
        int64_t threshold
        int bell
        int score
        uint64_t passed
    uint64_t baton_enter(baton *b, int64_t now)
    int baton_leave(baton *b, uint64_t entered)
    void baton_judge(baton *b, int64_t span)

cdef class Baton:
    cdef baton state
    cdef int64_t entered_at
    cdef uint64_t entered
