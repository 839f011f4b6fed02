/* The chunked transfer coding, RFC 9112 7.1; what callers may rely on stands in scan.h.
 *
 * A byte at a time, but for data, which is only counted: framing is short, and whoever sends much of it is refused.
 */
#include "scan.h"
#include "scan_bytes.h"

#include <stdbool.h>
#include <string.h>

#define CHUNK_LINE_MAX     4096  /* a chunk-size line with its extensions */
#define CHUNK_DIGITS_MAX   16    /* leading zeros included */
#define CHUNK_FRAMING_FREE 16384 /* framing bytes any body may have */
#define CHUNK_FRAMING_EACH 16    /* and for each chunk: size digits and two CRLF */

typedef enum {
    IN_SIZE = 0,
    IN_EXT_BLANK, /* blanks that must lead to ';' */
    IN_EXT_BEGIN, /* behind ';' */
    IN_EXT_NAME,
    IN_EXT_NAME_END, /* blanks behind a name, that must lead to '=' or ';' */
    IN_EXT_VALUE,    /* behind '=' */
    IN_EXT_TOKEN,
    IN_EXT_QUOTED,
    IN_EXT_ESCAPE,
    IN_EXT_QUOTED_END,
    IN_SIZE_LF,
    IN_DATA,
    IN_DATA_CR,
    IN_DATA_LF,
    IN_TRAILER_BEGIN,
    IN_TRAILER_NAME,
    IN_TRAILER_VALUE,
    IN_TRAILER_LF,
    IN_LAST_LF,
    IN_NOTHING
} chunk_state;

/* RFC 9110 6.5.1: fields that frame, route, authenticate, modify the request or describe the content,
 * and those of one connection. Whoever merges trailers into a head would be fooled by them. */
/* clang-format off */
static const char *const FORBIDDEN_TRAILERS[] = {
    "authorization", "cache-control", "connection", "content-encoding", "content-length",
    "content-range", "content-type", "cookie", "expect", "forwarded",
    "host", "if-match", "if-modified-since", "if-none-match", "if-range",
    "if-unmodified-since", "keep-alive", "max-forwards", "pragma", "proxy-authenticate",
    "proxy-authorization", "proxy-connection", "range", "set-cookie", "te",
    "trailer", "transfer-encoding", "upgrade", "via", "www-authenticate",
    "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto",
};
/* clang-format on */

void scan_chunks_begin(scan_chunks *c) {
    memset(c, 0, sizeof *c);
}

static bool is_forbidden_trailer(const scan_chunks *c) {
    if (c->name_len > sizeof c->name)
        return false;
    for (size_t i = 0; i < sizeof FORBIDDEN_TRAILERS / sizeof *FORBIDDEN_TRAILERS; i++)
        if (strlen(FORBIDDEN_TRAILERS[i]) == c->name_len &&
            memcmp(FORBIDDEN_TRAILERS[i], c->name, c->name_len) == 0)
            return true;
    return false;
}

/* chunk-size, RFC 9112 7.1: hex digits alone; no sign, no 0x, no underscore, no blank in front. */
static scan_fault take_size(scan_chunks *c, uint8_t byte) {
    if (is(byte, HEX)) {
        if (c->digits == CHUNK_DIGITS_MAX || c->left > LENGTH_MAX >> 4)
            return FAULT_CHUNK_SIZE;
        c->digits++;
        c->left = c->left << 4 | (unsigned)(is_digit(byte) ? byte - '0' : (byte | 0x20) - 'a' + 10);
        return SCAN_OK;
    }
    if (c->digits == 0)
        return byte == '\n' ? FAULT_BARE_LF : FAULT_CHUNK_SIZE;
    switch (byte) {
    case '\r':
        c->state = IN_SIZE_LF;
        return SCAN_OK;
    case ';':
        c->state = IN_EXT_BEGIN;
        return SCAN_OK;
    case ' ':
    case '\t':
        c->state = IN_EXT_BLANK;
        return SCAN_OK;
    case '\n':
        return FAULT_BARE_LF;
    default:
        return FAULT_CHUNK_SIZE;
    }
}

/* chunk-ext, RFC 9112 7.1.1: a state for each kind of byte that may follow; 0 is a fault. */
enum { ON_TOKEN, ON_BLANK, ON_SEMICOLON, ON_EQUALS, ON_CR, ON_QUOTE, ON_BACKSLASH, ON_OTHER, ON_KINDS };
/* clang-format off */
static const uint8_t EXTENSION[][ON_KINDS] = {
    /*                 token          blank               ;             =                   CR          "              \\             other */
    [IN_EXT_BLANK] = { 0,             IN_EXT_BLANK,       IN_EXT_BEGIN, 0,                  0,          0,             0,             0 },
    [IN_EXT_BEGIN] = { IN_EXT_NAME,   IN_EXT_BEGIN,       0,            0,                  0,          0,             0,             0 },
    [IN_EXT_NAME] =  { IN_EXT_NAME,   IN_EXT_NAME_END,    IN_EXT_BEGIN, IN_EXT_VALUE,       IN_SIZE_LF, 0,             0,             0 },
    [IN_EXT_NAME_END] = { 0,          IN_EXT_NAME_END,    IN_EXT_BEGIN, IN_EXT_VALUE,       0,          0,             0,             0 },
    [IN_EXT_VALUE] = { IN_EXT_TOKEN,  IN_EXT_VALUE,       0,            0,                  0,          IN_EXT_QUOTED, 0,             0 },
    [IN_EXT_TOKEN] = { IN_EXT_TOKEN,  IN_EXT_BLANK,       IN_EXT_BEGIN, 0,                  IN_SIZE_LF, 0,             0,             0 },
    [IN_EXT_QUOTED] = { IN_EXT_QUOTED, IN_EXT_QUOTED,     IN_EXT_QUOTED, IN_EXT_QUOTED,     0,          IN_EXT_QUOTED_END, IN_EXT_ESCAPE, IN_EXT_QUOTED },
    [IN_EXT_ESCAPE] = { IN_EXT_QUOTED, IN_EXT_QUOTED,     IN_EXT_QUOTED, IN_EXT_QUOTED,     0,          IN_EXT_QUOTED, IN_EXT_QUOTED, IN_EXT_QUOTED },
    [IN_EXT_QUOTED_END] = { 0,        IN_EXT_BLANK,       IN_EXT_BEGIN, 0,                  IN_SIZE_LF, 0,             0,             0 },
};
/* clang-format on */

static scan_fault take_extension(scan_chunks *c, uint8_t byte) {
    unsigned kind;
    switch (byte) {
    case ' ':
    case '\t':
        kind = ON_BLANK;
        break;
    case ';':
        kind = ON_SEMICOLON;
        break;
    case '=':
        kind = ON_EQUALS;
        break;
    case '\r':
        kind = ON_CR;
        break;
    case '"':
        kind = ON_QUOTE;
        break;
    case '\\':
        kind = ON_BACKSLASH;
        break;
    case '\n':
        return FAULT_BARE_LF;
    default:
        if (!is(byte, TOKEN | QUOTED))
            return FAULT_CHUNK_EXTENSION;
        kind = is(byte, TOKEN) ? ON_TOKEN : ON_OTHER;
    }
    const uint8_t next = EXTENSION[c->state][kind];
    if (!next)
        return FAULT_CHUNK_EXTENSION;
    c->state = next;
    return SCAN_OK;
}

static scan_fault end_size_line(scan_chunks *c, uint8_t byte) {
    if (byte != '\n')
        return FAULT_BARE_CR;
    c->chunks++;
    /* A byte of data in a chunk of its own is a poor client; a page of extension for it is an attack. */
    if (c->overhead > CHUNK_FRAMING_FREE + CHUNK_FRAMING_EACH * c->chunks + c->total)
        return FAULT_CHUNK_OVERHEAD;
    c->state = c->left ? IN_DATA : IN_TRAILER_BEGIN;
    c->line_len = 0;
    c->digits = 0;
    return SCAN_OK;
}

static scan_fault take_trailer(scan_chunks *c, uint8_t byte, uint32_t trailer_size) {
    if (c->state == IN_TRAILER_BEGIN && byte == '\r') {
        c->state = IN_LAST_LF;
        return SCAN_OK;
    }
    if (c->trailers++ == trailer_size)
        return FAULT_TRAILER_TOO_LARGE;
    switch ((chunk_state)c->state) {
    case IN_TRAILER_BEGIN:
        c->name_len = 0;
        c->state = IN_TRAILER_NAME;
        /* fall through */
    case IN_TRAILER_NAME:
        if (is(byte, TOKEN)) {
            if (c->name_len < sizeof c->name)
                c->name[c->name_len] = (char)(byte >= 'A' && byte <= 'Z' ? byte | 0x20 : byte);
            if (c->name_len <= sizeof c->name)
                c->name_len++;
            return SCAN_OK;
        }
        if (byte == ':' && c->name_len) {
            c->state = IN_TRAILER_VALUE;
            return is_forbidden_trailer(c) ? FAULT_TRAILER_FORBIDDEN : SCAN_OK;
        }
        return byte == '\n' ? FAULT_BARE_LF : FAULT_TRAILER;
    case IN_TRAILER_VALUE:
        if (byte == '\r')
            c->state = IN_TRAILER_LF;
        else if (stops(byte, AT_CONTROL))
            return byte == '\n' ? FAULT_BARE_LF : FAULT_TRAILER;
        return SCAN_OK;
    default: /* IN_TRAILER_LF */
        c->state = IN_TRAILER_BEGIN;
        return byte == '\n' ? SCAN_OK : FAULT_BARE_CR;
    }
}

static scan_fault take_framing(scan_chunks *c, uint8_t byte, uint32_t trailer_size) {
    switch ((chunk_state)c->state) {
    case IN_SIZE:
        c->line_len++;
        return take_size(c, byte);
    case IN_SIZE_LF:
        return end_size_line(c, byte);
    case IN_DATA_CR:
        c->state = IN_DATA_LF;
        return byte == '\r' ? SCAN_OK : FAULT_CHUNK_END;
    case IN_DATA_LF:
        c->state = IN_SIZE;
        return byte == '\n' ? SCAN_OK : FAULT_CHUNK_END;
    case IN_TRAILER_BEGIN:
    case IN_TRAILER_NAME:
    case IN_TRAILER_VALUE:
    case IN_TRAILER_LF:
        return take_trailer(c, byte, trailer_size);
    case IN_LAST_LF:
        c->state = IN_NOTHING;
        return byte == '\n' ? SCAN_OK : FAULT_BARE_CR;
    default:
        if (++c->line_len > CHUNK_LINE_MAX)
            return FAULT_CHUNK_EXTENSION;
        return take_extension(c, byte);
    }
}

scan_status scan_chunks_run(scan_chunks *c, const uint8_t *buf, size_t len, uint32_t trailer_size,
                            size_t *used, size_t *data, size_t *data_len) {
    size_t p = 0;
    *data = *data_len = 0;
    for (; c->fault == SCAN_OK && c->state != IN_NOTHING && p < len; p++) {
        if (c->state == IN_DATA) {
            const size_t size = c->left < len - p ? (size_t)c->left : len - p;
            c->left -= size;
            c->total += size;
            if (c->left == 0)
                c->state = IN_DATA_CR;
            *data = p;
            *data_len = size;
            *used = p + size;
            return SCAN_DATA;
        }
        c->overhead++;
        c->fault = take_framing(c, buf[p], trailer_size);
        if (c->fault)
            break;
    }
    *used = p;
    return c->fault ? SCAN_FAULTY : c->state == IN_NOTHING ? SCAN_DONE : SCAN_MORE;
}
