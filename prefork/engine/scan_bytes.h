/* What the scanner asks of single bytes, and finding the first one of a sort, many bytes at once.
 *
 * Included by scan.c and scan_chunks.c alone. SSE2 is part of every x86-64 (wider registers gained nothing: lines are short);
 * elsewhere eight bytes at a time in a plain word. -DSCAN_PORTABLE takes the second way everywhere, for tests.
 */
#ifndef PREFORK_SCAN_BYTES_H
#define PREFORK_SCAN_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__SSE2__) && !defined(SCAN_PORTABLE)
#include <emmintrin.h>
#define SCAN_SSE2 1
#elif defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define SCAN_WORDS 1
#endif

#define LENGTH_MAX ((uint64_t)INT64_MAX) /* of a body or a chunk */

enum {
    TOKEN = 1,   /* tchar, RFC 9110 5.6.2 */
    HEX = 2,     /* HEXDIG in either case */
    REGNAME = 4, /* unreserved / sub-delims, RFC 3986 3.2.2; '%' is looked at apart */
    QUOTED = 8,  /* qdtext, RFC 9110 5.6.4 */
    TARGET = 16  /* visible ASCII without '#': see scan.h */
};

/* clang-format off */
static const uint8_t CLASSES[256] = {
    0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    8, 29, 16, 9, 29, 25, 29, 29, 28, 28, 29, 29, 28, 29, 29, 24,
    31, 31, 31, 31, 31, 31, 31, 31, 31, 31, 24, 28, 24, 28, 24, 24,
    24, 31, 31, 31, 31, 31, 31, 29, 29, 29, 29, 29, 29, 29, 29, 29,
    29, 29, 29, 29, 29, 29, 29, 29, 29, 29, 29, 24, 16, 24, 25, 29,
    25, 31, 31, 31, 31, 31, 31, 29, 29, 29, 29, 29, 29, 29, 29, 29,
    29, 29, 29, 29, 29, 29, 29, 29, 29, 29, 29, 24, 25, 24, 29, 0,
    8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8,
    8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8,
    8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8,
    8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8,
    8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8,
    8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8,
    8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8,
    8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8,
};
/* clang-format on */

static inline bool is(uint8_t byte, unsigned classes) {
    return (CLASSES[byte] & classes) != 0;
}

static inline bool is_digit(uint8_t byte) {
    return (uint8_t)(byte - '0') <= 9;
}

static inline bool is_blank(uint8_t byte) {
    return byte == ' ' || byte == '\t';
}

/* Whether buf[from..to) is the word, given in lower case, in any case. */
static inline bool is_word(const uint8_t *buf, size_t from, size_t to, const char *word, size_t size) {
    if (to - from != size)
        return false;
    for (size_t i = 0; i < size; i++)
        if ((buf[from + i] | 0x20) != (uint8_t)word[i])
            return false;
    return true;
}
#define IS_WORD(buf, from, to, word) is_word(buf, from, to, word, sizeof(word) - 1)

typedef enum {
    AT_CONTROL,   /* a control byte other than HTAB, or DEL: the end of any line */
    AT_NO_TARGET, /* what may not be in a target */
    AT_NO_WORD    /* anything but letters, digits and '-', of which nearly all field names are */
} stop;

static inline bool stops(uint8_t byte, stop at) {
    if (at == AT_CONTROL)
        return (byte < 0x20 && byte != '\t') || byte == 0x7f;
    if (at == AT_NO_TARGET)
        return !is(byte, TARGET);
    return !((uint8_t)((byte | 0x20) - 'a') < 26 || is_digit(byte) || byte == '-');
}

#if SCAN_SSE2
static inline __m128i at_most(__m128i bytes, char bound) {
    return _mm_cmpeq_epi8(_mm_min_epu8(bytes, _mm_set1_epi8(bound)), bytes);
}

static inline unsigned stops_in_16(const uint8_t *p, stop at) {
    const __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)p);
    const __m128i del = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(0x7f));
    __m128i found;
    if (at == AT_NO_WORD) {
        const __m128i letters =
            at_most(_mm_sub_epi8(_mm_or_si128(bytes, _mm_set1_epi8(0x20)), _mm_set1_epi8('a')), 25);
        const __m128i digits = at_most(_mm_sub_epi8(bytes, _mm_set1_epi8('0')), 9);
        const __m128i dashes = _mm_cmpeq_epi8(bytes, _mm_set1_epi8('-'));
        return 0xffff ^ (unsigned)_mm_movemask_epi8(_mm_or_si128(_mm_or_si128(letters, digits), dashes));
    }
    if (at == AT_CONTROL) {
        found = _mm_andnot_si128(_mm_cmpeq_epi8(bytes, _mm_set1_epi8('\t')), at_most(bytes, 0x1f));
    } else {
        const __m128i low = _mm_cmplt_epi8(bytes, _mm_set1_epi8(0x21)); /* signed: 0x80..0xff are low too */
        found = _mm_or_si128(_mm_cmpeq_epi8(bytes, _mm_set1_epi8('#')), low);
    }
    return (unsigned)_mm_movemask_epi8(_mm_or_si128(found, del));
}
#elif SCAN_WORDS
#define EACH(byte) ((uint64_t)(byte) * 0x0101010101010101u)
/* Bit 7 of every byte that is below the bound (at most 0x80), or equal; exact, as no sum carries into the next byte. */
static inline uint64_t below(uint64_t word, uint8_t bound) {
    return ~(((word & EACH(0x7f)) + EACH(0x80 - bound)) | word) & EACH(0x80);
}
static inline uint64_t equal(uint64_t word, uint8_t byte) {
    return below(word ^ EACH(byte), 1);
}
static inline uint64_t stops_in_8(const uint8_t *p, stop at) {
    uint64_t word;
    memcpy(&word, p, 8);
    if (at == AT_CONTROL)
        return (below(word, 0x20) & ~equal(word, '\t')) | equal(word, 0x7f);
    return below(word, 0x21) | (word & EACH(0x80)) | equal(word, 0x7f) | equal(word, '#');
}
#endif

/* The first place in buf[p..end) that stops, or end. */
static inline size_t find(const uint8_t *buf, size_t p, size_t end, stop at) {
#if SCAN_SSE2
    for (; end - p >= 16; p += 16) {
        const unsigned found = stops_in_16(buf + p, at);
        if (found)
            return p + (size_t)__builtin_ctz(found);
    }
    if (p < end && end >= 16) { /* the sixteen bytes that end at the end, less those already seen */
        const unsigned found = stops_in_16(buf + end - 16, at) >> (16 - (end - p));
        return found ? p + (size_t)__builtin_ctz(found) : end;
    }
#elif SCAN_WORDS
    for (; at != AT_NO_WORD && end - p >= 8; p += 8) {
        const uint64_t found = stops_in_8(buf + p, at);
        if (found)
            return p + (size_t)__builtin_ctzll(found) / 8;
    }
#endif
    while (p < end && !stops(buf[p], at))
        p++;
    return p;
}

#endif
