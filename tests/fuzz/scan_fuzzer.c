/* Feeds bytes to the scanner as a connection would (head, body, next head) and holds it to what scan.h says:
 * - offsets lie inside the bytes given, in order, and around nothing that the grammar forbids;
 * - pieces give what the whole gives, at whatever address each piece lies;
 * - the data of chunks adds up;
 * - the portable build says the same.
 * Every buffer is a heap block of just the bytes given, so that the sanitizer sees a step outside.
 *
 * With -DREPLAY it is an ordinary program that takes files (for tests, and for compilers without libFuzzer).
 */
#include "scan.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(truth)                                                                                         \
    do {                                                                                                     \
        if (!(truth)) {                                                                                      \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #truth);                              \
            abort();                                                                                         \
        }                                                                                                    \
    } while (0)

void portable_head_begin(scan_head *h);
scan_status portable_head_run(scan_head *h, const uint8_t *buf, size_t len, const scan_limits *limits);
void portable_chunks_begin(scan_chunks *c);
scan_status portable_chunks_run(scan_chunks *c, const uint8_t *buf, size_t len, uint32_t trailer_size,
                                size_t *used, size_t *data, size_t *data_len);

/* One of the two builds. */
typedef struct {
    void (*head_begin)(scan_head *);
    scan_status (*head_run)(scan_head *, const uint8_t *, size_t, const scan_limits *);
    void (*chunks_begin)(scan_chunks *);
    scan_status (*chunks_run)(scan_chunks *, const uint8_t *, size_t, uint32_t, size_t *, size_t *, size_t *);
} scanner;

static const scanner USUAL = {scan_head_begin, scan_head_run, scan_chunks_begin, scan_chunks_run};
static const scanner PORTABLE = {portable_head_begin, portable_head_run, portable_chunks_begin,
                                 portable_chunks_run};

static const scan_limits LIMITS[] = {
    {65536, 4094, 8190, 100},
    {96, 40, 32, 3},
};
static const uint32_t TRAILER_SIZES[] = {8192, 24};

/* How the next piece is cut off: whole, a byte, or by a generator that starts from the input. */
typedef struct {
    enum { WHOLE, BYTES, RANDOM } way;
    uint64_t seed;
} cutter;

static size_t cut(cutter *by, size_t left) {
    if (by->way == WHOLE)
        return left;
    if (by->way == BYTES)
        return 1;
    by->seed ^= by->seed << 13;
    by->seed ^= by->seed >> 7;
    by->seed ^= by->seed << 17;
    const size_t size = 1 + by->seed % (by->seed & 256 ? 7 : 61);
    return size < left ? size : left;
}

/* A heap block that ends with the bytes. Zero bytes are a block of one, of which nothing may be read either. */
static uint8_t *block(const uint8_t *bytes, size_t size) {
    uint8_t *copy = malloc(size ? size : 1);
    CHECK(copy);
    if (size)
        memcpy(copy, bytes, size);
    return copy;
}

static uint64_t hash(uint64_t sum, const void *bytes, size_t size) {
    const uint8_t *p = bytes;
    for (size_t i = 0; i < size; i++)
        sum = (sum ^ p[i]) * 0x100000001b3u;
    return sum;
}

static bool is_control(uint8_t byte) {
    return (byte < 0x20 && byte != '\t') || byte == 0x7f;
}

static void check_part(const uint8_t *buf, uint32_t at, uint32_t size, uint32_t from, uint32_t to) {
    CHECK(at >= from && (uint64_t)at + size <= to);
    for (uint32_t i = 0; i < size; i++)
        CHECK(!is_control(buf[at + i]));
}

/* What a whole head promises. */
static void check_head(const scan_head *h, const uint8_t *buf, size_t len, const scan_limits *limits) {
    CHECK(h->head_len >= 4 && h->head_len <= len && h->head_len <= limits->head_size);
    CHECK(memcmp(buf + h->head_len - 4, "\r\n\r\n", 4) == 0);
    CHECK(h->method_len > 0 && h->method_len <= 32);
    CHECK(h->target_len > 0 && h->target == h->method + h->method_len + 1);
    check_part(buf, h->method, h->method_len, 0, h->head_len);
    const uint32_t end = h->target + h->target_len;
    check_part(buf, h->target, h->target_len, 0, h->head_len);
    for (uint32_t i = h->target; i < end; i++)
        CHECK(buf[i] > 0x20 && buf[i] < 0x7f && buf[i] != '#');
    CHECK(end + 9 - h->method <= limits->line_size);
    check_part(buf, h->path, h->path_len, h->path_len ? h->target : 0, end);
    check_part(buf, h->query, h->query_len, h->query_len ? h->target : 0, end);
    check_part(buf, h->authority, h->authority_len, h->authority_len ? h->target : 0, end);
    CHECK(h->form <= FORM_ASTERISK && h->minor <= 1);
    CHECK((h->form == FORM_ABSOLUTE || h->form == FORM_AUTHORITY) == (h->authority_len > 0));
    CHECK(h->form == FORM_ABSOLUTE || h->form == FORM_AUTHORITY || h->path_len > 0);
    CHECK(!(h->chunked && h->has_length) && !(h->chunked && h->minor == 0));
    CHECK(h->has_length || h->content_length == 0);
    CHECK(h->content_length <= INT64_MAX);
    CHECK(h->field_count <= limits->field_count && h->field_count <= SCAN_FIELDS_MAX);
    uint32_t from = end + 11; /* SP, version, CRLF */
    unsigned kinds[FIELD_UPGRADE + 1] = {0};
    for (unsigned i = 0; i < h->field_count; i++) {
        const scan_field *field = &h->fields[i];
        CHECK(field->name == from && field->name_len > 0);
        CHECK(buf[field->name + field->name_len] == ':');
        check_part(buf, field->name, field->name_len, from, h->head_len);
        CHECK(!memchr(buf + field->name, ' ', field->name_len));
        CHECK(field->underscore == (memchr(buf + field->name, '_', field->name_len) != NULL));
        check_part(buf, field->value, field->value_len, field->name + field->name_len + 1u, h->head_len);
        from = field->value + field->value_len;
        if (field->value_len)
            CHECK(!strchr(" \t", buf[field->value]) && !strchr(" \t", buf[from - 1]));
        while (buf[from] == ' ' || buf[from] == '\t')
            from++;
        CHECK(from - field->name <= limits->field_size);
        CHECK(buf[from] == '\r' && buf[from + 1] == '\n');
        from += 2;
        CHECK(field->kind <= FIELD_UPGRADE);
        kinds[field->kind]++;
    }
    CHECK(from + 2 == h->head_len);
    CHECK(kinds[FIELD_HOST] == 1 || (kinds[FIELD_HOST] == 0 && h->minor == 0));
    CHECK(kinds[FIELD_CONTENT_LENGTH] == h->has_length && kinds[FIELD_CONTENT_TYPE] <= 1);
    CHECK((kinds[FIELD_TRANSFER_ENCODING] > 0) == h->chunked);
}

/* A head whose fields are taken from a block says what it said when they were scanned. */
static void check_block(const scan_head *h, const uint8_t *buf, const scan_limits *limits) {
    static scan_head again;
    scan_block kept;
    memset(&again, 0xa5, sizeof again);
    scan_head_begin(&again);
    CHECK(h->fields_at < h->head_len && memcmp(buf + h->fields_at - 2, "\r\n", 2) == 0);
    CHECK(scan_head_line(&again, buf, h->head_len, limits) == SCAN_DONE);
    CHECK(again.fields_at == h->fields_at && again.field_count == 0);
    const int keeps = scan_block_keep(&kept, h);
    CHECK(keeps == (h->minor == 1));
    if (!keeps)
        return;
    CHECK(kept.size == h->head_len - h->fields_at);
    const scan_limits tight = {h->head_len - 1, limits->line_size, limits->field_size, limits->field_count};
    CHECK(!scan_block_apply(&kept, &again, &tight) && again.field_count == 0);
    CHECK(scan_block_apply(&kept, &again, limits));
    CHECK(memcmp(&again, h, offsetof(scan_head, fields)) == 0);
}

/* What is so after every call. */
static void check_step(const scan_head *h, scan_status status, size_t len) {
    CHECK((status == SCAN_FAULTY) == (h->fault != SCAN_OK));
    CHECK(h->line <= h->pos && h->pos <= len);
    if (status == SCAN_MORE)
        CHECK(h->pos + 1u >= len);
    if (status == SCAN_FAULTY) {
        CHECK(h->fault > SCAN_OK && h->fault < SCAN_FAULTS && h->fault_at <= len);
        CHECK((uint64_t)h->method + h->method_len <= len && (uint64_t)h->target + h->target_len <= len);
    }
}

/* Go through all bytes, and sum up what was found: equal ways have equal sums. */
static uint64_t walk(const scanner *s, const uint8_t *bytes, size_t len, unsigned which, cutter by) {
    static scan_head head;
    scan_chunks chunks;
    uint64_t sum = 0xcbf29ce484222325u;
    size_t base = 0;
    for (unsigned requests = 0; requests < 64; requests++) {
        memset(&head, 0xa5, sizeof head);
        s->head_begin(&head);
        scan_status status = SCAN_MORE;
        size_t given = 0;
        while (status == SCAN_MORE && base + given < len) {
            given += cut(&by, len - base - given);
            uint8_t *buf = block(bytes + base, given);
            status = s->head_run(&head, buf, given, &LIMITS[which]);
            check_step(&head, status, given);
            if (status == SCAN_DONE) {
                check_head(&head, buf, given, &LIMITS[which]);
                check_block(&head, buf, &LIMITS[which]);
            }
            if (status != SCAN_MORE)
                CHECK(s->head_run(&head, buf, given, &LIMITS[which]) == status);
            free(buf);
        }
        sum = hash(sum, &status, sizeof status);
        sum = hash(sum, &head.fault, sizeof head.fault);
        sum = hash(sum, &head.fault_at, sizeof head.fault_at);
        if (status != SCAN_DONE)
            return sum;
        sum = hash(sum, &head.minor, offsetof(scan_head, fault) - offsetof(scan_head, minor));
        sum = hash(sum, head.fields, head.field_count * sizeof *head.fields);
        base += head.head_len;
        if (head.has_length) {
            if (head.content_length > len - base)
                return sum;
            base += head.content_length;
        }
        if (!head.chunked)
            continue;
        s->chunks_begin(&chunks);
        uint64_t total = 0, consumed = 0;
        status = SCAN_MORE;
        while (base < len && (status == SCAN_MORE || status == SCAN_DATA)) {
            const size_t piece = cut(&by, len - base);
            uint8_t *buf = block(bytes + base, piece);
            size_t used = 0, data = 0, data_len = 0;
            status = s->chunks_run(&chunks, buf, piece, TRAILER_SIZES[which], &used, &data, &data_len);
            CHECK(used <= piece && data + data_len <= used && (data_len > 0) == (status == SCAN_DATA));
            CHECK(status != SCAN_MORE || used == piece);
            CHECK((status == SCAN_FAULTY) == (chunks.fault != SCAN_OK) && chunks.fault < SCAN_FAULTS);
            sum = hash(sum, buf + data, data_len);
            total += data_len;
            consumed += used;
            free(buf);
            base += used;
        }
        CHECK(chunks.total == total);
        CHECK(chunks.overhead + total == consumed + (status == SCAN_FAULTY));
        CHECK(chunks.trailers <= TRAILER_SIZES[which] + 1u);
        sum = hash(sum, &status, sizeof status);
        sum = hash(sum, &chunks.fault, sizeof chunks.fault);
        sum = hash(sum, &base, sizeof base);
        if (status != SCAN_DONE)
            return sum;
    }
    return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len) {
    const uint64_t seed = hash(0xcbf29ce484222325u, bytes, len) | 1;
    for (unsigned which = 0; which < sizeof LIMITS / sizeof *LIMITS; which++) {
        const uint64_t whole = walk(&USUAL, bytes, len, which, (cutter){WHOLE, seed});
        CHECK(walk(&USUAL, bytes, len, which, (cutter){RANDOM, seed}) == whole);
        CHECK(walk(&PORTABLE, bytes, len, which, (cutter){RANDOM, seed * 3}) == whole);
        if (len <= 512)
            CHECK(walk(&USUAL, bytes, len, which, (cutter){BYTES, seed}) == whole);
    }
    return 0;
}

#ifdef REPLAY
int main(int count, char **paths) {
    for (int i = 1; i < count; i++) {
        FILE *file = fopen(paths[i], "rb");
        CHECK(file);
        static uint8_t bytes[1 << 20];
        const size_t len = fread(bytes, 1, sizeof bytes, file);
        CHECK(len < sizeof bytes && fclose(file) == 0);
        LLVMFuzzerTestOneInput(bytes, len);
    }
    printf("%d inputs\n", count - 1);
    return 0;
}
#endif
