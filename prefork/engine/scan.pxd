# What Cython sees of scan.h; the words are there.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

cdef extern from "scan.h" nogil:
    enum: SCAN_FIELDS_MAX

    ctypedef enum scan_fault:
        SCAN_OK
        FAULT_METHOD
        FAULT_TARGET
        FAULT_TARGET_TOO_LONG
        FAULT_VERSION
        FAULT_VERSION_UNKNOWN
        FAULT_BARE_LF
        FAULT_BARE_CR
        FAULT_FIELD_NAME
        FAULT_FIELD_VALUE
        FAULT_FOLDING
        FAULT_FIELD_TOO_LARGE
        FAULT_TOO_MANY_FIELDS
        FAULT_HEAD_TOO_LARGE
        FAULT_HOST_MISSING
        FAULT_HOST_REPEATED
        FAULT_HOST
        FAULT_LENGTH
        FAULT_LENGTH_REPEATED
        FAULT_LENGTH_AND_CODING
        FAULT_CODING
        FAULT_CODING_UNKNOWN
        FAULT_CODING_IN_10
        FAULT_TYPE_REPEATED
        FAULT_EXPECTATION
        FAULT_CHUNK_SIZE
        FAULT_CHUNK_EXTENSION
        FAULT_CHUNK_END
        FAULT_CHUNK_OVERHEAD
        FAULT_TRAILER
        FAULT_TRAILER_FORBIDDEN
        FAULT_TRAILER_TOO_LARGE
        SCAN_FAULTS

    ctypedef enum scan_status:
        SCAN_FAULTY
        SCAN_MORE
        SCAN_DONE
        SCAN_DATA

    ctypedef enum scan_kind:
        FIELD_OTHER
        FIELD_HOST
        FIELD_CONTENT_LENGTH
        FIELD_CONTENT_TYPE
        FIELD_TRANSFER_ENCODING
        FIELD_CONNECTION
        FIELD_EXPECT
        FIELD_UPGRADE

    ctypedef enum scan_form:
        FORM_ORIGIN
        FORM_ABSOLUTE
        FORM_AUTHORITY
        FORM_ASTERISK

    ctypedef struct scan_limits:
        uint32_t head_size
        uint32_t line_size
        uint32_t field_size
        uint32_t field_count

    ctypedef struct scan_field:
        uint32_t name
        uint32_t value
        uint32_t value_len
        uint16_t name_len
        uint8_t kind
        uint8_t underscore

    ctypedef struct scan_head:
        uint32_t pos
        uint32_t line
        uint32_t fields_at
        uint8_t state
        uint8_t seen
        uint8_t minor
        uint8_t form
        uint16_t field_count
        uint32_t method
        uint32_t method_len
        uint32_t target
        uint32_t target_len
        uint32_t path
        uint32_t path_len
        uint32_t query
        uint32_t query_len
        uint32_t authority
        uint32_t authority_len
        uint32_t head_len
        uint8_t chunked
        uint8_t has_length
        uint8_t keep_alive
        uint8_t expect_continue
        uint8_t upgrade
        uint64_t content_length
        scan_fault fault
        uint32_t fault_at
        scan_field *fields

    void scan_head_begin(scan_head *h)
    scan_status scan_head_run(scan_head *h, const uint8_t *buf, size_t len, const scan_limits *limits)
    scan_status scan_head_line(scan_head *h, const uint8_t *buf, size_t len, const scan_limits *limits)

    ctypedef struct scan_block:
        uint32_t size

    int scan_block_keep(scan_block *block, const scan_head *h)
    int scan_block_apply(const scan_block *block, scan_head *h, const scan_limits *limits)

    ctypedef struct scan_chunks:
        uint64_t left
        uint64_t total
        uint64_t overhead
        uint64_t chunks
        uint32_t trailers
        uint32_t line_len
        uint8_t state
        uint8_t digits
        scan_fault fault
        char *name
        uint8_t name_len

    void scan_chunks_begin(scan_chunks *c)
    scan_status scan_chunks_run(scan_chunks *c, const uint8_t *buf, size_t len, uint32_t trailer_size,
                                size_t *used, size_t *data, size_t *data_len)
