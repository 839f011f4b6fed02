/* Checks over bytes that the application hands us: RFC 9110 5.1 (names) and 5.5 (values). */
#ifndef PREFORK_OCTETS_H
#define PREFORK_OCTETS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* 1 where the byte may stand in a token (RFC 9110 5.6.2). */
static const uint8_t octets_token[256] = {
    ['!'] = 1, ['#'] = 1, ['$'] = 1, ['%'] = 1, ['&'] = 1, ['\''] = 1, ['*'] = 1, ['+'] = 1, ['-'] = 1,
    ['.'] = 1, ['^'] = 1, ['_'] = 1, ['`'] = 1, ['|'] = 1, ['~'] = 1,  ['0'] = 1, ['1'] = 1, ['2'] = 1,
    ['3'] = 1, ['4'] = 1, ['5'] = 1, ['6'] = 1, ['7'] = 1, ['8'] = 1,  ['9'] = 1, ['A'] = 1, ['B'] = 1,
    ['C'] = 1, ['D'] = 1, ['E'] = 1, ['F'] = 1, ['G'] = 1, ['H'] = 1,  ['I'] = 1, ['J'] = 1, ['K'] = 1,
    ['L'] = 1, ['M'] = 1, ['N'] = 1, ['O'] = 1, ['P'] = 1, ['Q'] = 1,  ['R'] = 1, ['S'] = 1, ['T'] = 1,
    ['U'] = 1, ['V'] = 1, ['W'] = 1, ['X'] = 1, ['Y'] = 1, ['Z'] = 1,  ['a'] = 1, ['b'] = 1, ['c'] = 1,
    ['d'] = 1, ['e'] = 1, ['f'] = 1, ['g'] = 1, ['h'] = 1, ['i'] = 1,  ['j'] = 1, ['k'] = 1, ['l'] = 1,
    ['m'] = 1, ['n'] = 1, ['o'] = 1, ['p'] = 1, ['q'] = 1, ['r'] = 1,  ['s'] = 1, ['t'] = 1, ['u'] = 1,
    ['v'] = 1, ['w'] = 1, ['x'] = 1, ['y'] = 1, ['z'] = 1,
};

static inline int octets_is_token(const uint8_t *text, size_t len) {
    uint8_t good = len != 0;
    for (size_t i = 0; i < len; i++)
        good &= octets_token[text[i]];
    return good;
}

/* No control byte but HTAB. */
static inline int octets_is_value(const uint8_t *text, size_t len) {
    const uint64_t ones = 0x0101010101010101u, high = 0x8080808080808080u;
    size_t i = 0;
    for (; i + 8 <= len; i += 8) {
        uint64_t word, del;
        memcpy(&word, text + i, 8);
        del = word ^ (ones * 0x7f);
        /* High bits set where a byte may be below 0x20 or 0x7f; a HTAB is such a byte too. */
        if ((((word - ones * 0x20) & ~word) | ((del - ones) & ~del)) & high)
            break;
    }
    for (; i < len; i++)
        if ((text[i] < 0x20 && text[i] != '\t') || text[i] == 0x7f)
            return 0;
    return 1;
}

/* Equal without regard to ASCII case; lower is lower case already. */
static inline int octets_same(const uint8_t *text, const char *lower, size_t len) {
    for (size_t i = 0; i < len; i++) {
        uint8_t c = text[i];
        if (c >= 'A' && c <= 'Z')
            c |= 0x20;
        if (c != (uint8_t)lower[i])
            return 0;
    }
    return 1;
}

static inline size_t octets_decimal(char *out, uint64_t number) {
    char digits[20];
    size_t n = 0;
    do {
        digits[n++] = (char)('0' + number % 10);
        number /= 10;
    } while (number);
    for (size_t i = 0; i < n; i++)
        out[i] = digits[n - 1 - i];
    return n;
}

static inline size_t octets_hex(char *out, uint64_t number) {
    char digits[16];
    size_t n = 0;
    do {
        digits[n++] = "0123456789abcdef"[number & 15];
        number >>= 4;
    } while (number);
    for (size_t i = 0; i < n; i++)
        out[i] = digits[n - 1 - i];
    return n;
}

/* Percent-decoding (RFC 3986 2.1); a '%' without two hex digits stays as it is. out may be text. */
static inline size_t octets_unquote(uint8_t *out, const uint8_t *text, size_t len) {
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '%' && len - i > 2) {
            int value = 0, good = 1;
            for (int k = 1; k <= 2; k++) {
                uint8_t c = text[i + k];
                if (c >= '0' && c <= '9')
                    value = value * 16 + c - '0';
                else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
                    value = value * 16 + (c | 0x20) - 'a' + 10;
                else
                    good = 0;
            }
            if (good) {
                out[n++] = (uint8_t)value;
                i += 2;
                continue;
            }
        }
        out[n++] = text[i];
    }
    return n;
}

#endif
