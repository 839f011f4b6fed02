# cython: cdivision=True
# A line of the access log while it is put together: how a value becomes text that cannot leave its place.
# Every put_* writes at line.at and moves it, or sets line.cut where there is no room.
from cpython.ref cimport PyObject
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.string cimport memcpy

from prefork.engine.accesslog cimport Line, Piece

cdef enum:
    VALUE_LIMIT = 7168       # of one value; eight of them and the rest of a JSON line fit into 64 KiB
    SLACK = 16               # what prefork_copy_plain may write behind line.end
    ESCAPE_MAX = 6           # \u00NN
    USER_LIMIT = 255
    AS_IT_IS = 0x20          # the lowest byte written as it is: accessformat.py

cdef extern from "Python.h":
    # On plain pointers: for objects Cython would count references around every borrowed value.
    bint PyUnicode_Check(PyObject *)
    int PyUnicode_KIND(PyObject *)
    void *PyUnicode_DATA(PyObject *)
    Py_ssize_t PyUnicode_GET_LENGTH(PyObject *)
    unsigned int PyUnicode_READ(int kind, void *data, Py_ssize_t index)
    int PyUnicode_1BYTE_KIND
    bint PyLong_CheckExact(PyObject *)
    bint PyFloat_CheckExact(PyObject *)
    bint PyBool_Check(PyObject *)
    PyObject *PyObject_Str(PyObject *)
    PyObject *PyDict_GetItemWithError(PyObject *, PyObject *)
    bint PyTuple_Check(PyObject *)
    Py_ssize_t PyTuple_GET_SIZE(PyObject *)
    PyObject *PyTuple_GET_ITEM(PyObject *, Py_ssize_t)
    Py_ssize_t PyList_GET_SIZE(PyObject *)
    PyObject *PyList_GET_ITEM(PyObject *, Py_ssize_t)
    PyObject *PyErr_Occurred()
    void PyErr_Clear()
    void Py_DECREF(PyObject *)

cdef extern from "stdio.h" nogil:
    int snprintf(char *, size_t, const char *, ...)

cdef extern from "unistd.h" nogil:
    int getpid()

cdef extern from "time.h" nogil:
    cdef struct tm:
        int tm_sec
        int tm_min
        int tm_hour
        int tm_mday
        int tm_mon
        int tm_year
        long tm_gmtoff
    tm *localtime_r(const long *, tm *)

cdef extern from *:
    """
    static const char prefork_hex[] = "0123456789ABCDEF";

    typedef unsigned char prefork_block __attribute__((vector_size(16)));

    static inline int prefork_block_odd(prefork_block b, unsigned char lowest) {
        prefork_block odd = (prefork_block)((b < lowest) | (b > 0x7e) | (b == '"') | (b == '\\\\'));
        unsigned long long half[2];
        memcpy(half, &odd, 16);
        return (half[0] | half[1]) != 0;
    }

    /* Copies bytes while they are printable ASCII from `lowest` on and not '"' or '\\\\'; returns how many.
     * May write up to 15 bytes behind the last that it counts. The last block overlaps the one before it. */
    static inline size_t prefork_copy_plain(char *to, const unsigned char *from, size_t size, unsigned char lowest) {
        size_t i = 0;
        prefork_block b;
        if (size >= 16) {
            for (; i + 16 <= size; i += 16) {
                memcpy(&b, from + i, 16);
                memcpy(to + i, &b, 16);
                if (prefork_block_odd(b, lowest)) goto one;
            }
            if (i == size) return size;
            memcpy(&b, from + size - 16, 16);
            if (!prefork_block_odd(b, lowest)) {
                memcpy(to + size - 16, &b, 16);
                return size;
            }
        }
    one:
        for (; i < size; i++) {
            unsigned char c = from[i];
            if (c < lowest || c > 0x7e || c == '"' || c == '\\\\') break;
            to[i] = (char)c;
        }
        return i;
    }
    """
    const char *prefork_hex
    size_t prefork_copy_plain(char *to, const uint8_t *source, size_t size, uint8_t lowest) noexcept nogil


cdef inline void put_literal(Line *line, const char *text, size_t size) noexcept nogil:
    if <size_t>(line.end - line.at) < size:
        line.cut = True
        return
    memcpy(line.at, text, size)
    line.at += size


cdef inline void put_byte(Line *line, char byte) noexcept nogil:
    if line.at == line.end:
        line.cut = True
        return
    line.at[0] = byte
    line.at += 1


cdef inline void put_missing(Line *line) noexcept nogil:
    if line.json:
        put_literal(line, "null", 4)
    else:
        put_byte(line, b'-')


cdef inline void put_number(Line *line, int64_t number) noexcept nogil:
    cdef char[24] digits
    cdef int at = 24
    cdef uint64_t left = <uint64_t>number if number > 0 else 0
    while True:
        at -= 1
        digits[at] = <char>(48 + left % 10)
        left //= 10
        if left == 0:
            break
    put_literal(line, &digits[at], <size_t>(24 - at))


# These two are called where there is room.

cdef inline void put_unit(Line *line, unsigned int unit) noexcept nogil:
    # JSON's \uNNNN: one unit of UTF-16.
    line.at[0] = b'\\'
    line.at[1] = b'u'
    line.at[2] = prefork_hex[(unit >> 12) & 15]
    line.at[3] = prefork_hex[(unit >> 8) & 15]
    line.at[4] = prefork_hex[(unit >> 4) & 15]
    line.at[5] = prefork_hex[unit & 15]
    line.at += 6


cdef inline void put_escape(Line *line, unsigned int byte) noexcept nogil:
    line.at[0] = b'\\'
    if not line.json:
        line.at[1] = b'x'
        line.at[2] = prefork_hex[(byte >> 4) & 15]
        line.at[3] = prefork_hex[byte & 15]
        line.at += 4
    elif byte == b'"' or byte == b'\\':
        line.at[1] = <char>byte
        line.at += 2
    else:
        put_unit(line, byte)


cdef inline char *value_end(const Line *line) noexcept nogil:
    # Where the value that begins here is cut: at its own limit, else at the end of the buffer.
    return line.at + VALUE_LIMIT if line.end - line.at > VALUE_LIMIT + SLACK else line.end


cdef inline void cut_value(Line *line, const char *end) noexcept nogil:
    if end == line.end:
        line.cut = True
    else:
        put_literal(line, "...", 3)


cdef inline void put_bytes(Line *line, const uint8_t *data, size_t size, uint8_t lowest) noexcept nogil:
    # Latin-1: the bytes as they came.
    cdef char *end = value_end(line)
    cdef size_t room, count
    while True:
        room = <size_t>(end - line.at)
        count = prefork_copy_plain(line.at, data, size if size < room else room, lowest)
        line.at += count
        data += count
        size -= count
        if size == 0:
            return
        if end - line.at < ESCAPE_MAX:
            cut_value(line, end)
            return
        put_escape(line, data[0])
        data += 1
        size -= 1


cdef inline void put_wide(Line *line, PyObject *text, uint8_t lowest) noexcept:
    # A str with characters above latin-1. No client can send one, the application made it. UTF-8, or UTF-16
    # in JSON; half of a surrogate pair is no character in either.
    cdef char *end = value_end(line)
    cdef int kind = PyUnicode_KIND(text)
    cdef void *data = PyUnicode_DATA(text)
    cdef Py_ssize_t i
    cdef unsigned int point
    for i in range(PyUnicode_GET_LENGTH(text)):
        if end - line.at < 4 * 4:
            cut_value(line, end)
            return
        point = PyUnicode_READ(kind, data, i)
        if 0xD800 <= point < 0xE000:
            point = 0xFFFD
        if lowest <= point <= 0x7E and point != b'"' and point != b'\\':
            put_byte(line, <char>point)
        elif point < 0x100:
            put_escape(line, point)
        elif line.json and point < 0x10000:
            put_unit(line, point)
        elif line.json:
            put_unit(line, 0xD800 + ((point - 0x10000) >> 10))
            put_unit(line, 0xDC00 + (point & 0x3FF))
        else:
            if point < 0x800:
                put_escape(line, 0xC0 | (point >> 6))
            elif point < 0x10000:
                put_escape(line, 0xE0 | (point >> 12))
                put_escape(line, 0x80 | ((point >> 6) & 0x3F))
            else:
                put_escape(line, 0xF0 | (point >> 18))
                put_escape(line, 0x80 | ((point >> 12) & 0x3F))
                put_escape(line, 0x80 | ((point >> 6) & 0x3F))
            put_escape(line, 0x80 | (point & 0x3F))


cdef inline void put_text(Line *line, PyObject *text, uint8_t lowest) noexcept:
    if line.json:
        put_byte(line, b'"')
    if PyUnicode_KIND(text) == PyUnicode_1BYTE_KIND:
        put_bytes(line, <const uint8_t *>PyUnicode_DATA(text), <size_t>PyUnicode_GET_LENGTH(text), lowest)
    else:
        put_wide(line, text, lowest)
    if line.json:
        put_byte(line, b'"')


cdef inline void put_value(Line *line, PyObject *value, uint8_t lowest) noexcept:
    # A str, or an exact number's digits. Nothing else is asked for its text: that would run the
    # application's code here, outside of its request.
    cdef PyObject *digits
    if value != NULL and PyUnicode_Check(value):
        put_text(line, value, lowest)
    elif value != NULL and (PyLong_CheckExact(value) or PyFloat_CheckExact(value) or PyBool_Check(value)):
        digits = PyObject_Str(value)
        if digits == NULL:  # more digits than the interpreter converts
            PyErr_Clear()
            put_missing(line)
            return
        put_text(line, digits, lowest)
        Py_DECREF(digits)
    else:
        put_missing(line)


# The getters.

cdef inline void put_environ(Line *line, dict environ, const Piece *piece) noexcept:
    cdef PyObject *value = lookup(environ, piece.key)
    if value == NULL and piece.other != NULL:
        value = lookup(environ, piece.other)
    put_value(line, value, <uint8_t>piece.lowest)


cdef inline void put_address(Line *line, dict environ, object remote, const Piece *piece) noexcept:
    cdef PyObject *value = lookup(environ, piece.key)
    if not has_text(value):
        value = <PyObject *>remote
    put_value(line, value if has_text(value) else NULL, <uint8_t>piece.lowest)


cdef inline void put_request_line(Line *line, dict environ, const Piece *piece) noexcept:
    cdef PyObject *method = lookup(environ, <PyObject *>"REQUEST_METHOD")
    put_value(line, method, <uint8_t>piece.lowest)
    if method != NULL:
        put_byte(line, b' ')
        put_value(line, lookup(environ, <PyObject *>"RAW_URI"), <uint8_t>piece.lowest)
        put_byte(line, b' ')
        put_value(line, lookup(environ, <PyObject *>"SERVER_PROTOCOL"), <uint8_t>piece.lowest)


cdef inline void put_user(Line *line, dict environ, const Piece *piece) noexcept:
    # RFC 7617: "Basic", a space, base64 of user ":" password. What is not that has no user.
    cdef PyObject *value = lookup(environ, <PyObject *>"HTTP_AUTHORIZATION")
    cdef uint8_t[USER_LIMIT] user
    cdef size_t length = 0
    if value != NULL and PyUnicode_Check(value) and PyUnicode_KIND(value) == PyUnicode_1BYTE_KIND:
        length = basic_user(<const uint8_t *>PyUnicode_DATA(value), <size_t>PyUnicode_GET_LENGTH(value), user)
    if length == 0:
        put_missing(line)
        return
    if line.json:
        put_byte(line, b'"')
    put_bytes(line, user, length, AS_IT_IS if line.json else <uint8_t>piece.lowest)
    if line.json:
        put_byte(line, b'"')


cdef inline size_t basic_user(const uint8_t *data, size_t size, uint8_t *user) noexcept nogil:
    cdef size_t at = 6, length = 0
    cdef unsigned int bits = 0
    cdef int have = 0, digit
    if size <= 6 or not same_ignoring_case(data, "basic ", 6):
        return 0
    while at < size and data[at] == b' ':
        at += 1
    while at < size and length < USER_LIMIT:
        digit = base64_digit(data[at])
        if digit < 0:
            return 0  # also '=': the end came before the colon
        at += 1
        bits = (bits << 6) | <unsigned int>digit
        have += 6
        if have >= 8:
            have -= 8
            user[length] = <uint8_t>(bits >> have)
            if user[length] == b':':
                return length
            length += 1
    return length if length == USER_LIMIT else 0


cdef inline int base64_digit(uint8_t byte) noexcept nogil:
    if b'A' <= byte <= b'Z':
        return byte - c'A'
    if b'a' <= byte <= b'z':
        return byte - c'a' + 26
    if b'0' <= byte <= b'9':
        return byte - c'0' + 52
    return 62 if byte == b'+' else 63 if byte == b'/' else -1


cdef inline void put_response(Line *line, list headers, const Piece *piece) noexcept:
    cdef Py_ssize_t i
    cdef PyObject *row
    cdef PyObject *name
    cdef PyObject *value = NULL
    if headers is not None:
        for i in range(PyList_GET_SIZE(<PyObject *>headers) - 1, -1, -1):
            row = PyList_GET_ITEM(<PyObject *>headers, i)
            if not PyTuple_Check(row) or PyTuple_GET_SIZE(row) != 2:
                continue
            name = PyTuple_GET_ITEM(row, 0)
            if (
                PyUnicode_Check(name) and PyUnicode_KIND(name) == PyUnicode_1BYTE_KIND
                and <size_t>PyUnicode_GET_LENGTH(name) == piece.size
                and same_ignoring_case(<const uint8_t *>PyUnicode_DATA(name), piece.text, piece.size)
            ):
                value = PyTuple_GET_ITEM(row, 1)
                break
    put_value(line, value, <uint8_t>piece.lowest)


cdef inline void put_known(Line *line, int64_t number, bint known) noexcept nogil:
    if known:
        put_number(line, number)
    else:
        put_missing(line)


cdef inline void put_span(Line *line, int64_t begin_ns, int64_t end_ns, int64_t unit) noexcept nogil:
    put_known(line, (end_ns - begin_ns) // unit, begin_ns != 0 and end_ns != 0)


cdef inline void put_decimal(Line *line, int64_t begin_ns, int64_t end_ns) noexcept nogil:
    cdef char[40] text
    cdef long long us = (end_ns - begin_ns) // 1000 if end_ns > begin_ns else 0
    if begin_ns == 0 or end_ns == 0:
        put_missing(line)
    else:
        put_literal(line, text, <size_t>snprintf(text, sizeof(text), "%lld.%06lld", us // 1000000, us % 1000000))


cdef inline void put_process(Line *line) noexcept nogil:
    if line.json:
        put_number(line, getpid())
    else:
        put_byte(line, b'<')
        put_number(line, getpid())
        put_byte(line, b'>')


cdef inline size_t put_stamp(char *text, size_t size, long second, bint json) noexcept nogil:
    cdef const char *months = "JanFebMarAprMayJunJulAugSepOctNovDec"
    cdef tm at
    cdef int offset
    cdef char sign
    localtime_r(&second, &at)
    offset = <int>(at.tm_gmtoff // 60)
    sign = b'-' if offset < 0 else b'+'
    if offset < 0:
        offset = -offset
    if json:
        return <size_t>snprintf(
            text, size, '"%04d-%02d-%02dT%02d:%02d:%02d.000%c%02d:%02d"', at.tm_year + 1900, at.tm_mon + 1,
            at.tm_mday, at.tm_hour, at.tm_min, at.tm_sec, <int>sign, <int>(offset // 60), <int>(offset % 60))
    return <size_t>snprintf(
        text, size, "[%02d/%.3s/%04d:%02d:%02d:%02d %c%02d%02d]", at.tm_mday, months + 3 * at.tm_mon,
        at.tm_year + 1900, at.tm_hour, at.tm_min, at.tm_sec, <int>sign, <int>(offset // 60), <int>(offset % 60))


cdef inline PyObject *lookup(dict environ, PyObject *key) noexcept:
    cdef PyObject *value
    if environ is None:
        return NULL
    value = PyDict_GetItemWithError(<PyObject *>environ, key)
    if value == NULL and PyErr_Occurred() != NULL:
        PyErr_Clear()  # a key of the application's that cannot be compared
    return value


cdef inline bint has_text(PyObject *value) noexcept:
    return value != NULL and PyUnicode_Check(value) and PyUnicode_GET_LENGTH(value) > 0


cdef inline bint same_ignoring_case(const uint8_t *data, const char *lower, size_t size) noexcept nogil:
    cdef size_t i
    cdef uint8_t letter
    for i in range(size):
        letter = data[i]
        if b'A' <= letter <= b'Z':
            letter |= 0x20
        if letter != <uint8_t>lower[i]:
            return False
    return True
