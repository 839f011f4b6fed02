/* The grammar of HTTP/1.x request heads; what callers may rely on stands in scan.h.
 *
 * Rules of this file:
 * - A head is taken a line at a time. `pos` runs ahead to the next control byte, and a line is parsed once,
 *   when it is whole; so however the bytes arrive, each is looked at a bounded number of times and
 *   the outcome is the same. Limits are checked against positions, never against what one call happened to bring.
 * - No byte at or behind buf + len is ever read: wide loads need sixteen (or eight) bytes inside the buffer.
 * - Letters are compared with bit 0x20 set. That is exact, because no control byte reaches a comparison:
 *   0x20 maps only letters, control bytes and bytes that are no part of any word here.
 */
#include "scan.h"
#include "scan_bytes.h"

#include <stdbool.h>
#include <string.h>

#define METHOD_MAX 32    /* the longest registered method has 17 bytes (UPDATEREDIRECTREF) */
#define PORT_MAX   65535 /* RFC 3986 sets no bound; TCP does */

/* ---- lists and hosts ---- */

/* Take the next element of the comma list in buf[*p..end), without blanks around it; false when there is none.
 * Empty elements are given too: [*from, *to) is then empty. */
static bool next_element(const uint8_t *buf, size_t *p, size_t end, size_t *from, size_t *to) {
    if (*p > end)
        return false;
    size_t begin = *p, last = begin;
    while (last < end && buf[last] != ',')
        last++;
    *p = last + 1;
    while (begin < last && is_blank(buf[begin]))
        begin++;
    while (last > begin && is_blank(buf[last - 1]))
        last--;
    *from = begin;
    *to = last;
    return true;
}

static bool is_ipv4(const uint8_t *s, size_t n) {
    size_t i = 0;
    for (int octet = 0; octet < 4; octet++) {
        if (octet && (i == n || s[i++] != '.'))
            return false;
        const size_t first = i;
        unsigned value = 0;
        while (i < n && i - first < 3 && is_digit(s[i]))
            value = value * 10 + (s[i++] - '0');
        if (i == first || value > 255 || (i - first > 1 && s[first] == '0'))
            return false;
    }
    return i == n;
}

/* RFC 3986 3.2.2, without zones (RFC 6874 keeps them off the wire). */
static bool is_ipv6(const uint8_t *s, size_t n) {
    size_t i = 0;
    int groups = 0;
    bool elided = false;
    if (n >= 2 && s[0] == ':' && s[1] == ':') {
        elided = true;
        i = 2;
    }
    while (i < n) {
        const size_t first = i;
        while (i < n && i - first < 4 && is(s[i], HEX))
            i++;
        if (i == first)
            return false;
        if (i < n && s[i] == '.') {
            if (!is_ipv4(s + first, n - first))
                return false;
            groups += 2;
            break;
        }
        groups++;
        if (i == n)
            break;
        if (s[i++] != ':' || i == n)
            return false;
        if (s[i] == ':') {
            if (elided)
                return false;
            elided = true;
            i++;
        }
    }
    return elided ? groups <= 7 : groups == 8;
}

typedef enum { PORT_OPTIONAL, PORT_REQUIRED } port_rule;

/* uri-host [ ":" port ] with a host that is not empty (RFC 9110 4.2.1 and 7.2). */
static bool is_authority(const uint8_t *buf, size_t from, size_t to, port_rule rule) {
    size_t p = from;
    if (p < to && buf[p] == '[') {
        const uint8_t *close = memchr(buf + p, ']', to - p);
        if (!close || !is_ipv6(buf + p + 1, (size_t)(close - (buf + p + 1))))
            return false;
        p = (size_t)(close - buf) + 1;
    } else {
        for (; p < to && buf[p] != ':'; p++) {
            if (is(buf[p], REGNAME))
                continue;
            if (buf[p] != '%' || to - p < 3 || !is(buf[p + 1], HEX) || !is(buf[p + 2], HEX))
                return false;
            p += 2;
        }
        if (p == from)
            return false;
    }
    if (p == to)
        return rule == PORT_OPTIONAL;
    if (buf[p++] != ':')
        return false;
    if (p == to)
        return rule == PORT_OPTIONAL; /* "host:" is the grammar's, RFC 3986 3.2.3 */
    uint32_t port = 0;
    for (; p < to; p++) {
        if (!is_digit(buf[p]))
            return false;
        port = port * 10 + (buf[p] - '0');
        if (port > PORT_MAX)
            return false;
    }
    return true;
}

/* ---- heads ---- */

enum { AT_REQUEST_LINE = 0, AT_FIELDS, AT_END };
enum {
    SEEN_HOST = 1,
    SEEN_LENGTH = 2,
    SEEN_TYPE = 4,
    SEEN_CODING = 8,
    SEEN_CLOSE = 16,
    SEEN_KEEP_ALIVE = 32
};

void scan_head_begin(scan_head *h) {
    static const uint8_t ZERO[offsetof(scan_head, fields)];
    memcpy(h, ZERO, sizeof ZERO);
}

static scan_fault blame(scan_head *h, scan_fault fault, size_t at) {
    h->fault = fault;
    h->fault_at = (uint32_t)at;
    return fault;
}

static void set_path(scan_head *h, const uint8_t *buf, size_t from, size_t to) {
    const uint8_t *mark = to > from ? memchr(buf + from, '?', to - from) : NULL;
    const size_t end = mark ? (size_t)(mark - buf) : to;
    h->path = (uint32_t)from;
    h->path_len = (uint32_t)(end - from);
    if (mark) {
        h->query = (uint32_t)(end + 1);
        h->query_len = (uint32_t)(to - end - 1);
    }
}

/* RFC 9112 3.2: which form the target has, and its parts. */
static scan_fault parse_target(scan_head *h, const uint8_t *buf) {
    const size_t from = h->target, to = from + h->target_len;
    const uint8_t *method = buf + h->method;
    if (h->method_len == 7 && memcmp(method, "CONNECT", 7) == 0) {
        if (!is_authority(buf, from, to, PORT_REQUIRED))
            return blame(h, FAULT_TARGET, from);
        h->form = FORM_AUTHORITY;
        h->authority = (uint32_t)from;
        h->authority_len = (uint32_t)(to - from);
        return SCAN_OK;
    }
    if (buf[from] == '/') {
        h->form = FORM_ORIGIN;
        set_path(h, buf, from, to);
        return SCAN_OK;
    }
    if (buf[from] == '*') {
        if (to - from != 1 || h->method_len != 7 || memcmp(method, "OPTIONS", 7) != 0)
            return blame(h, FAULT_TARGET, from);
        h->form = FORM_ASTERISK;
        h->path = h->target;
        h->path_len = 1;
        return SCAN_OK;
    }
    size_t p = from;
    if (to - p > 7 && IS_WORD(buf, p, p + 7, "http://"))
        p += 7;
    else if (to - p > 8 && IS_WORD(buf, p, p + 8, "https://"))
        p += 8;
    else
        return blame(h, FAULT_TARGET, from);
    size_t end = p;
    while (end < to && buf[end] != '/' && buf[end] != '?')
        end++;
    if (!is_authority(buf, p, end,
                      PORT_OPTIONAL)) /* '@' is no part of it: userinfo is refused, RFC 9110 4.2.4 */
        return blame(h, FAULT_TARGET, p);
    h->form = FORM_ABSOLUTE;
    h->authority = (uint32_t)p;
    h->authority_len = (uint32_t)(end - p);
    set_path(h, buf, end, to);
    return SCAN_OK;
}

/* method SP request-target SP HTTP-version, one space each (RFC 9112 3). */
static scan_fault parse_request_line(scan_head *h, const uint8_t *buf, size_t from, size_t end) {
    size_t p = from;
    while (p < end && is(buf[p], TOKEN))
        p++;
    if (p - from > METHOD_MAX)
        return blame(h, FAULT_METHOD, from + METHOD_MAX);
    if (p == from || (p < end && buf[p] != ' '))
        return blame(h, FAULT_METHOD, p);
    h->method = (uint32_t)from;
    h->method_len = (uint32_t)(p - from);
    if (p == end)
        return blame(h, FAULT_TARGET, end);
    const size_t target = p + 1;
    p = find(buf, target, end, AT_NO_TARGET);
    h->target = (uint32_t)target;
    h->target_len = (uint32_t)(p - target);
    if (p == target || (p < end && buf[p] != ' '))
        return blame(h, FAULT_TARGET, p);
    if (p == end)
        return blame(h, FAULT_VERSION, end); /* HTTP/0.9 had no version */
    const size_t version = p + 1;
    const size_t size = end - version;
    if (size < 5 || memcmp(buf + version, "HTTP/", 5) != 0) /* a space in the target, or no version at all */
        return blame(h, size && memchr(buf + version, ' ', size) ? FAULT_TARGET : FAULT_VERSION, p);
    if (size != 8 || !is_digit(buf[version + 5]) || buf[version + 6] != '.' || !is_digit(buf[version + 7]))
        return blame(h, FAULT_VERSION, version);
    if (buf[version + 5] != '1')
        return blame(h, FAULT_VERSION_UNKNOWN, version + 5);
    h->minor = buf[version + 7] != '0';
    return parse_target(h, buf);
}

static scan_fault take_host(scan_head *h, const uint8_t *buf, size_t from, size_t to) {
    if (h->seen & SEEN_HOST)
        return blame(h, FAULT_HOST_REPEATED, from);
    h->seen |= SEEN_HOST;
    if (from != to && !is_authority(buf, from, to, PORT_OPTIONAL))
        return blame(h, FAULT_HOST, from);
    return SCAN_OK;
}

static scan_fault take_length(scan_head *h, const uint8_t *buf, size_t from, size_t to) {
    if (h->seen & SEEN_LENGTH)
        return blame(h, FAULT_LENGTH_REPEATED, from);
    if (h->seen & SEEN_CODING)
        return blame(h, FAULT_LENGTH_AND_CODING, from);
    h->seen |= SEEN_LENGTH;
    uint64_t length = 0;
    size_t p = from;
    for (; p < to && is_digit(buf[p]); p++) {
        const unsigned digit = buf[p] - '0';
        if (length > (LENGTH_MAX - digit) / 10)
            return blame(h, FAULT_LENGTH, p);
        length = length * 10 + digit;
    }
    if (p < to || p == from)
        return blame(h, FAULT_LENGTH, p);
    h->has_length = 1;
    h->content_length = length;
    return SCAN_OK;
}

/* RFC 9112 6.1. Empty list elements, which a recipient may have to pass over elsewhere, are refused here:
 * two parsers that disagree on the coding disagree on where the request ends. */
static scan_fault take_coding(scan_head *h, const uint8_t *buf, size_t from, size_t to) {
    if (h->minor == 0)
        return blame(h, FAULT_CODING_IN_10, from);
    if (h->seen & SEEN_LENGTH)
        return blame(h, FAULT_LENGTH_AND_CODING, from);
    h->seen |= SEEN_CODING;
    size_t first, last;
    while (next_element(buf, &from, to, &first, &last)) {
        size_t p = first;
        while (p < last && is(buf[p], TOKEN))
            p++;
        if (p == first || h->chunked)
            return blame(h, FAULT_CODING, first);
        if (IS_WORD(buf, first, p, "chunked")) {
            if (p != last) /* chunked has no parameters */
                return blame(h, FAULT_CODING, p);
            h->chunked = 1;
            continue;
        }
        while (p < last && is_blank(buf[p]))
            p++;
        return blame(h, p == last || buf[p] == ';' ? FAULT_CODING_UNKNOWN : FAULT_CODING, first);
    }
    return SCAN_OK;
}

static void take_connection(scan_head *h, const uint8_t *buf, size_t from, size_t to) {
    size_t first, last;
    while (next_element(buf, &from, to, &first, &last)) {
        if (IS_WORD(buf, first, last, "close"))
            h->seen |= SEEN_CLOSE;
        else if (IS_WORD(buf, first, last, "keep-alive"))
            h->seen |= SEEN_KEEP_ALIVE;
        else if (IS_WORD(buf, first, last, "upgrade"))
            h->upgrade = h->minor; /* Upgrade in HTTP/1.0 is to be ignored, RFC 9110 7.8 */
    }
}

static scan_fault take_expect(scan_head *h, const uint8_t *buf, size_t from, size_t to) {
    if (h->minor == 0) /* RFC 9110 10.1.1 */
        return SCAN_OK;
    size_t first, last;
    while (next_element(buf, &from, to, &first, &last)) {
        if (IS_WORD(buf, first, last, "100-continue"))
            h->expect_continue = 1;
        else if (first != last)
            return blame(h, FAULT_EXPECTATION, first);
    }
    return SCAN_OK;
}

static inline scan_kind kind_of(const uint8_t *buf, size_t from, size_t to) {
    switch (to - from) {
    case 4:
        return IS_WORD(buf, from, to, "host") ? FIELD_HOST : FIELD_OTHER;
    case 6:
        return IS_WORD(buf, from, to, "expect") ? FIELD_EXPECT : FIELD_OTHER;
    case 7:
        return IS_WORD(buf, from, to, "upgrade") ? FIELD_UPGRADE : FIELD_OTHER;
    case 10:
        return IS_WORD(buf, from, to, "connection") ? FIELD_CONNECTION : FIELD_OTHER;
    case 12:
        return IS_WORD(buf, from, to, "content-type") ? FIELD_CONTENT_TYPE : FIELD_OTHER;
    case 14:
        return IS_WORD(buf, from, to, "content-length") ? FIELD_CONTENT_LENGTH : FIELD_OTHER;
    case 17:
        return IS_WORD(buf, from, to, "transfer-encoding") ? FIELD_TRANSFER_ENCODING : FIELD_OTHER;
    default:
        return FIELD_OTHER;
    }
}

/* field-name ":" OWS field-value OWS (RFC 9112 5), with no control byte in it: the caller has looked. */
static scan_fault parse_field(scan_head *h, const uint8_t *buf, size_t from, size_t end,
                              uint32_t count_limit) {
    if (is_blank(buf[from]))
        return blame(h, FAULT_FOLDING, from);
    if (h->field_count >= count_limit || h->field_count >= SCAN_FIELDS_MAX)
        return blame(h, FAULT_TOO_MANY_FIELDS, from);
    size_t colon = find(buf, from, end, AT_NO_WORD);
    uint8_t underscore = 0;
    while (colon < end && is(buf[colon], TOKEN))
        underscore |= buf[colon++] == '_';
    if (colon == from || colon == end || buf[colon] != ':')
        return blame(h, FAULT_FIELD_NAME, colon);
    if (colon - from > UINT16_MAX)
        return blame(h, FAULT_FIELD_TOO_LARGE, from + UINT16_MAX);
    size_t value = colon + 1;
    while (value < end && is_blank(buf[value]))
        value++;
    while (end > value && is_blank(buf[end - 1]))
        end--;
    const scan_kind kind = kind_of(buf, from, colon);
    h->fields[h->field_count++] = (scan_field){
        .name = (uint32_t)from,
        .value = (uint32_t)value,
        .value_len = (uint32_t)(end - value),
        .name_len = (uint16_t)(colon - from),
        .kind = (uint8_t)kind,
        .underscore = underscore,
    };
    switch (kind) {
    case FIELD_HOST:
        return take_host(h, buf, value, end);
    case FIELD_CONTENT_LENGTH:
        return take_length(h, buf, value, end);
    case FIELD_CONTENT_TYPE:
        if (h->seen & SEEN_TYPE)
            return blame(h, FAULT_TYPE_REPEATED, from);
        h->seen |= SEEN_TYPE;
        return SCAN_OK;
    case FIELD_TRANSFER_ENCODING:
        return take_coding(h, buf, value, end);
    case FIELD_CONNECTION:
        take_connection(h, buf, value, end);
        return SCAN_OK;
    case FIELD_EXPECT:
        return take_expect(h, buf, value, end);
    case FIELD_UPGRADE:
    case FIELD_OTHER:
        break;
    }
    return SCAN_OK;
}

/* The blank line: what only a whole head can tell. */
static scan_fault finish_head(scan_head *h, size_t blank) {
    if (h->minor && !(h->seen & SEEN_HOST))
        return blame(h, FAULT_HOST_MISSING, blank);
    h->keep_alive = !(h->seen & SEEN_CLOSE) && (h->minor || (h->seen & SEEN_KEEP_ALIVE));
    h->head_len = (uint32_t)(blank + 2);
    h->state = AT_END;
    return SCAN_OK;
}

/* Say what is wrong with the control byte at p, in the line that began at h->line. */
static scan_fault blame_control(scan_head *h, const uint8_t *buf, size_t p) {
    if (buf[p] == '\n')
        return blame(h, FAULT_BARE_LF, p);
    if (buf[p] == '\r')
        return blame(h, FAULT_BARE_CR, p);
    const uint8_t *line = buf + h->line;
    const size_t size = p - h->line;
    if (h->state == AT_FIELDS && size && is_blank(line[0]))
        return blame(h, FAULT_FOLDING, h->line);
    if (h->state == AT_FIELDS)
        return blame(h, size && memchr(line, ':', size) ? FAULT_FIELD_VALUE : FAULT_FIELD_NAME, p);
    unsigned spaces = 0;
    for (size_t i = 0; i < size; i++)
        spaces += line[i] == ' ';
    return blame(h, spaces == 0 ? FAULT_METHOD : spaces == 1 ? FAULT_TARGET : FAULT_VERSION, p);
}

typedef enum { TO_THE_FIELDS, TO_THE_END } goal;

static inline scan_status run(scan_head *h, const uint8_t *buf, size_t len, const scan_limits *limits,
                              goal until) {
    if (h->fault)
        return SCAN_FAULTY;
    if (h->state == AT_END)
        return SCAN_DONE;
    const size_t end = len < limits->head_size ? len : limits->head_size;
    size_t p = h->pos;
    for (;;) {
        p = find(buf, p, end, AT_CONTROL);
        const uint32_t limit = h->state == AT_REQUEST_LINE ? limits->line_size : limits->field_size;
        if (p - h->line > limit) {
            blame(h, h->state == AT_REQUEST_LINE ? FAULT_TARGET_TOO_LONG : FAULT_FIELD_TOO_LARGE,
                  (size_t)h->line + limit);
            return SCAN_FAULTY;
        }
        if (p == end || (buf[p] == '\r' && p + 1 == end))
            break;
        if (buf[p] != '\r' || buf[p + 1] != '\n') {
            blame_control(h, buf, p);
            return SCAN_FAULTY;
        }
        if (h->state == AT_REQUEST_LINE) {
            if (p != h->line) {
                if (parse_request_line(h, buf, h->line, p))
                    return SCAN_FAULTY;
                h->state = AT_FIELDS;
                h->fields_at = (uint32_t)(p + 2);
                if (until == TO_THE_FIELDS) {
                    h->pos = h->line = h->fields_at;
                    return SCAN_DONE;
                }
            }
        } else if (p != h->line) {
            if (parse_field(h, buf, h->line, p, limits->field_count))
                return SCAN_FAULTY;
        } else {
            h->pos = (uint32_t)(p + 2);
            return finish_head(h, p) ? SCAN_FAULTY : SCAN_DONE;
        }
        p += 2;
        h->pos = h->line = (uint32_t)p;
    }
    h->pos = (uint32_t)p;
    if (len < limits->head_size)
        return SCAN_MORE;
    blame(h, FAULT_HEAD_TOO_LARGE, limits->head_size);
    return SCAN_FAULTY;
}

scan_status scan_head_run(scan_head *h, const uint8_t *buf, size_t len, const scan_limits *limits) {
    return run(h, buf, len, limits, TO_THE_END);
}

scan_status scan_head_line(scan_head *h, const uint8_t *buf, size_t len, const scan_limits *limits) {
    return run(h, buf, len, limits, TO_THE_FIELDS);
}

int scan_block_apply(const scan_block *block, scan_head *h, const scan_limits *limits) {
    if (h->minor == 0 || block->size > limits->head_size || h->fields_at > limits->head_size - block->size)
        return 0;
    h->field_count = block->field_count;
    h->seen = block->seen;
    h->chunked = block->chunked;
    h->has_length = block->has_length;
    h->keep_alive = block->keep_alive;
    h->expect_continue = block->expect_continue;
    h->upgrade = block->upgrade;
    h->content_length = block->content_length;
    h->head_len = h->pos = h->fields_at + block->size;
    h->line = h->head_len - 2;
    h->state = AT_END;
    return 1;
}
