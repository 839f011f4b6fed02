/* The grammar of HTTP/1.x requests: heads and chunked bodies (RFC 9112).
 *
 * Pure functions over the caller's buffer: no Python, no allocation, no I/O, no globals.
 * Results are offsets into the buffer, so the caller may move it between calls.
 * Both scanners are incremental: called again with more bytes behind the same ones, they go on
 * where they stopped and never look at a byte twice more than a constant number of times.
 */
#ifndef PREFORK_SCAN_H
#define PREFORK_SCAN_H

#include <stddef.h>
#include <stdint.h>

/* Storage for fields in one head; scan_limits.field_count may ask for fewer, not for more. */
#define SCAN_FIELDS_MAX 256

/* What the RFCs leave open, or where this scanner is stricter than they are:
 *
 * - The target is visible ASCII without '#' (a fragment never belongs on the wire). Percent signs are not judged:
 *   "%zz" and "100%" reach the application as they are, as with every WSGI server. Absolute form is http or
 *   https, with a host and without userinfo; CONNECT takes host:port alone; '*' goes with OPTIONS alone.
 * - A host is a reg-name, an IPv4 address or an [IPv6] address (no zone, no IPvFuture), the port at most 65535
 *   or empty. A Host field may be empty (RFC 9110 7.2), but not a mere ":80".
 * - Content-Length may have leading zeros (1*DIGIT); a list is refused, even of equal values.
 * - Transfer-Encoding is "chunked", once and alone: an empty list element, a parameter or anything behind
 *   it is refused, any other coding unknown. HTTP/1.0 may not have it at all.
 * - Values may hold HTAB and 0x80..0xff (obs-text); Connection and Expect are lists over all their fields, whose
 *   empty elements are passed over. Connection: upgrade and Expect mean nothing in HTTP/1.0.
 * - Chunk sizes have at most 16 digits; extensions follow the grammar, blanks around ';' and '=' included, in a
 *   line of at most 4096 bytes. All framing of a body, trailers apart, may be 16 KiB, 16 bytes a chunk and as
 *   much as the data: one-byte chunks pass, one-byte chunks with long extensions do not.
 * - Trailers that frame, route, authenticate, modify or describe are refused by name (see scan_chunks.c), others dropped.
 */

/* Why bytes were refused. The status and text for each live in prefork/errors.py. */
/* clang-format off */
typedef enum {
    SCAN_OK = 0,
    /* request line */
    FAULT_METHOD,            /* not a token, empty, or longer than 32 bytes          400 */
    FAULT_TARGET,            /* control byte, space, non-ASCII, or no known form     400 */
    FAULT_TARGET_TOO_LONG,   /* request line longer than the limit                   414 */
    FAULT_VERSION,           /* not HTTP/d.d                                         400 */
    FAULT_VERSION_UNKNOWN,   /* a major version that is not 1                        505 */
    /* lines */
    FAULT_BARE_LF,           /* LF without CR                                        400 */
    FAULT_BARE_CR,           /* CR without LF                                        400 */
    /* fields */
    FAULT_FIELD_NAME,        /* empty, not a token, or space before the colon        400 */
    FAULT_FIELD_VALUE,       /* control byte or NUL                                  400 */
    FAULT_FOLDING,           /* a line that begins with SP or HTAB                   400 */
    FAULT_FIELD_TOO_LARGE,   /* one field longer than the limit                      431 */
    FAULT_TOO_MANY_FIELDS,   /*                                                      431 */
    FAULT_HEAD_TOO_LARGE,    /*                                                      431 */
    /* framing and routing */
    FAULT_HOST_MISSING,      /* HTTP/1.1 without Host                                400 */
    FAULT_HOST_REPEATED,     /*                                                      400 */
    FAULT_HOST,              /* not a valid uri-host[:port]                          400 */
    FAULT_LENGTH,            /* Content-Length is not one plain decimal < 2^63       400 */
    FAULT_LENGTH_REPEATED,   /* even with the same value                             400 */
    FAULT_LENGTH_AND_CODING, /* both Content-Length and Transfer-Encoding            400 */
    FAULT_CODING,            /* malformed list; chunked twice or not last            400 */
    FAULT_CODING_UNKNOWN,    /* a coding other than chunked                          501 */
    FAULT_CODING_IN_10,      /* Transfer-Encoding in HTTP/1.0                        400 */
    FAULT_TYPE_REPEATED,     /* Content-Type twice                                   400 */
    FAULT_EXPECTATION,       /* an Expect other than 100-continue                    417 */
    /* chunks */
    FAULT_CHUNK_SIZE,        /* no hex digit, sign, 0x, underscore, > 2^63 - 1       400 */
    FAULT_CHUNK_EXTENSION,   /* malformed or too long                                400 */
    FAULT_CHUNK_END,         /* chunk data not followed by CRLF                      400 */
    FAULT_CHUNK_OVERHEAD,    /* more framing than the limit allows for the data      400 */
    FAULT_TRAILER,           /* malformed trailer field                              400 */
    FAULT_TRAILER_FORBIDDEN, /* framing, routing or authentication field as trailer  400 */
    FAULT_TRAILER_TOO_LARGE, /*                                                      431 */
    SCAN_FAULTS              /* number of codes */
} scan_fault;
/* clang-format on */

typedef enum { SCAN_FAULTY = -1, SCAN_MORE = 0, SCAN_DONE = 1, SCAN_DATA = 2 } scan_status;

/* Fields the engine treats apart. FIELD_OTHER is every other name. */
typedef enum {
    FIELD_OTHER = 0,
    FIELD_HOST,
    FIELD_CONTENT_LENGTH,
    FIELD_CONTENT_TYPE,
    FIELD_TRANSFER_ENCODING,
    FIELD_CONNECTION,
    FIELD_EXPECT,
    FIELD_UPGRADE
} scan_kind;

typedef enum { FORM_ORIGIN = 0, FORM_ABSOLUTE, FORM_AUTHORITY, FORM_ASTERISK } scan_form;

typedef struct {
    uint32_t head_size;   /* bytes of a whole head, request line to blank line */
    uint32_t line_size;   /* bytes of the request line, without CRLF */
    uint32_t field_size;  /* bytes of one field line, without CRLF */
    uint32_t field_count; /* at most SCAN_FIELDS_MAX */
} scan_limits;

typedef struct {
    uint32_t name;      /* offset */
    uint32_t value;     /* offset, after leading OWS */
    uint32_t value_len; /* without trailing OWS */
    uint16_t name_len;
    uint8_t kind;       /* scan_kind */
    uint8_t underscore; /* the name holds '_' */
} scan_field;

typedef struct {
    /* where the scanner stands; zero to begin */
    uint32_t pos;       /* bytes looked at */
    uint32_t line;      /* offset at which the unfinished line begins */
    uint32_t fields_at; /* offset behind the request line, once that was good */
    uint8_t state;
    uint8_t seen; /* bits: which of the single fields were seen */

    /* what was found (valid after SCAN_DONE; method and target also after a later fault when target_len
     * is not 0, so that the log can name the request: then the target, or as much of it as is visible
     * ASCII, and minor once the request line was good) */
    uint8_t minor; /* 0 or 1; HTTP/1.x with x > 1 is answered as 1.1 (RFC 9110 2.5) */
    uint8_t form;  /* scan_form */
    uint16_t field_count;
    uint32_t method, method_len;
    uint32_t target, target_len; /* as received */
    /* inside target: without query; "*" in asterisk form; empty in authority form and after a bare authority */
    uint32_t path, path_len;
    uint32_t query, query_len; /* after the first '?', may be empty */
    /* host[:port] of absolute and authority form (overrides Host, RFC 9112 3.2.2) */
    uint32_t authority, authority_len;
    uint32_t head_len; /* bytes from the start of the buffer through the blank line */

    /* framing, resolved over the whole head */
    uint8_t chunked; /* Transfer-Encoding: chunked */
    uint8_t has_length;
    uint8_t keep_alive;      /* by version and Connection options */
    uint8_t expect_continue; /* Expect: 100-continue in HTTP/1.1 */
    uint8_t upgrade;         /* Connection: upgrade */
    uint64_t content_length;

    scan_fault fault;
    uint32_t fault_at; /* offset of the byte at fault */

    scan_field fields[SCAN_FIELDS_MAX];
} scan_head;

/* Make h ready for a new head; does not touch the fields array. */
void scan_head_begin(scan_head *h);

/* Look at buf[0..len). SCAN_MORE: call again with the same bytes and more behind them.
 * SCAN_DONE: a whole head; its length is h->head_len. SCAN_FAULTY: h->fault says why.
 * One or more empty lines (CRLF) before the request line are passed over (RFC 9112 2.2), within head_size. */
scan_status scan_head_run(scan_head *h, const uint8_t *buf, size_t len, const scan_limits *limits);

/* The same, but stop behind the request line: SCAN_DONE says that it is whole and good. scan_head_run goes on. */
scan_status scan_head_line(scan_head *h, const uint8_t *buf, size_t len, const scan_limits *limits);

/* What the fields of a head came to, for heads whose fields are the same bytes. */
typedef struct {
    uint32_t size; /* bytes from behind the request line through the blank line */
    uint16_t field_count;
    uint8_t seen;
    uint8_t chunked;
    uint8_t has_length;
    uint8_t keep_alive;
    uint8_t expect_continue;
    uint8_t upgrade;
    uint64_t content_length;
} scan_block;

/* Keep it, of a whole head. 0: not for HTTP/1.0, where fields mean other things. */
static inline int scan_block_keep(scan_block *block, const scan_head *h) {
    if (h->minor == 0)
        return 0;
    *block = (scan_block){
        .size = h->head_len - h->fields_at,
        .field_count = h->field_count,
        .seen = h->seen,
        .chunked = h->chunked,
        .has_length = h->has_length,
        .keep_alive = h->keep_alive,
        .expect_continue = h->expect_continue,
        .upgrade = h->upgrade,
        .content_length = h->content_length,
    };
    return 1;
}

/* The request line of h is good, and the block->size bytes behind it are those that the block was kept of, scanned
 * with the same limits: do without scanning them again. 1: as after SCAN_DONE, except that there are no `fields`.
 * 0: they would not mean the same, or do not fit; h is as it was. */
int scan_block_apply(const scan_block *block, scan_head *h, const scan_limits *limits);

typedef struct {
    uint64_t left;     /* data bytes of the current chunk still to come */
    uint64_t total;    /* data bytes passed so far */
    uint64_t overhead; /* framing bytes so far */
    uint64_t chunks;   /* chunk-size lines so far */
    uint32_t trailers; /* bytes of trailer lines so far */
    uint32_t line_len; /* bytes of the current framing line so far */
    uint8_t state;
    uint8_t digits;
    scan_fault fault;
    char name[32]; /* beginning of the current trailer's name, lower case */
    uint8_t name_len;
} scan_chunks;

void scan_chunks_begin(scan_chunks *c);

/* Look at buf[0..len), which follows what earlier calls consumed. Sets *used to the bytes consumed
 * (data included). SCAN_DATA: buf[*data .. *data + *data_len) is body data, call again with the rest.
 * SCAN_MORE: everything was consumed. SCAN_DONE: the body and its trailers are over; what is behind
 * *used is the next request. SCAN_FAULTY: *used is the offset of the byte at fault.
 * Trailers are checked and dropped. trailer_size: bytes of all trailers. */
scan_status scan_chunks_run(scan_chunks *c, const uint8_t *buf, size_t len, uint32_t trailer_size,
                            size_t *used, size_t *data, size_t *data_len);

#endif
