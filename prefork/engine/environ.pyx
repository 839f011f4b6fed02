# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False, binding=False
"""A scanned head becomes a WSGI environ (PEP 3333, "environ Variables").

Owns the intern table: raw field name -> ``HTTP_*`` key and the last value seen with that name. Clients
repeat themselves (Host, User-Agent, Accept), so most fields cost one memcmp and no new object.
"""
from cpython.dict cimport PyDict_Copy, PyDict_SetItem
from cpython.ref cimport Py_INCREF, Py_XDECREF
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memchr, memcmp, memcpy, memset
from prefork.engine.scan cimport (
    FORM_ABSOLUTE, FORM_ASTERISK, FORM_ORIGIN, scan_field, scan_head,
)

cdef extern from "Python.h":
    object PyUnicode_DecodeLatin1(const char *text, Py_ssize_t size, const char *errors)
    PyObject *PyDict_SetDefault(object d, object key, object value) except NULL  # borrowed
    Py_ssize_t PyDict_GET_SIZE "PyDict_Size"(object d)
    const uint8_t *PyUnicode_1BYTE_DATA(object text)
    Py_ssize_t PyUnicode_GET_LENGTH(object text)

cdef extern from *:
    """
    /* A dict whose table has room for a usual request, so that filling a copy never resizes it. Private
     * in the headers of 3.13 and later; there the copies grow once, which costs about 0.1 us. */
    #if PY_VERSION_HEX < 0x030D0000
    #define prefork_roomy_dict(n) _PyDict_NewPresized(n)
    #else
    #define prefork_roomy_dict(n) PyDict_New()
    #endif
    """
    dict prefork_roomy_dict(Py_ssize_t n)

cdef extern from "octets.h" nogil:
    size_t octets_unquote(uint8_t *out, const uint8_t *text, size_t len)

# Engine fault codes that the scanner does not know (prefork/errors.py).
cdef enum:
    FAULT_SCHEME_CONFLICT = 71
    FAULT_UNDERSCORE = 72

cdef str REQUEST_METHOD = "REQUEST_METHOD"
cdef str PATH_INFO = "PATH_INFO"
cdef str QUERY_STRING = "QUERY_STRING"
cdef str RAW_URI = "RAW_URI"
cdef str REQUEST_URI = "REQUEST_URI"
cdef str SERVER_PROTOCOL = "SERVER_PROTOCOL"
cdef str REMOTE_ADDR = "REMOTE_ADDR"
cdef str REMOTE_PORT = "REMOTE_PORT"
cdef str URL_SCHEME = "wsgi.url_scheme"
cdef str SCRIPT_NAME = "SCRIPT_NAME"
cdef str HTTP_HOST = "HTTP_HOST"
cdef str HTTP_10 = "HTTP/1.0"
cdef str EMPTY = ""
cdef dict METHODS = {m.encode(): m for m in ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS")}
cdef str POST = "POST"

# The keys that applications ask for, as literals and so interned: dict look-ups find them by their address.
# Names that clients make up are never interned: CPython 3.12 would keep them for good.
cdef dict KEYS = {key: key for key in (
    "CONTENT_LENGTH", "CONTENT_TYPE", "HTTP_ACCEPT", "HTTP_ACCEPT_CHARSET", "HTTP_ACCEPT_ENCODING",
    "HTTP_ACCEPT_LANGUAGE", "HTTP_AUTHORIZATION", "HTTP_CACHE_CONTROL", "HTTP_CONNECTION", "HTTP_COOKIE",
    "HTTP_DNT", "HTTP_EXPECT", "HTTP_FORWARDED", "HTTP_HOST", "HTTP_IF_MATCH", "HTTP_IF_MODIFIED_SINCE",
    "HTTP_IF_NONE_MATCH", "HTTP_IF_RANGE", "HTTP_IF_UNMODIFIED_SINCE", "HTTP_ORIGIN", "HTTP_PRAGMA",
    "HTTP_PRIORITY", "HTTP_RANGE", "HTTP_REFERER", "HTTP_SEC_CH_UA", "HTTP_SEC_CH_UA_MOBILE",
    "HTTP_SEC_CH_UA_PLATFORM", "HTTP_SEC_FETCH_DEST", "HTTP_SEC_FETCH_MODE", "HTTP_SEC_FETCH_SITE",
    "HTTP_SEC_FETCH_USER", "HTTP_TE", "HTTP_TRANSFER_ENCODING", "HTTP_UPGRADE",
    "HTTP_UPGRADE_INSECURE_REQUESTS", "HTTP_USER_AGENT", "HTTP_VIA", "HTTP_X_CSRFTOKEN", "HTTP_X_FORWARDED_FOR",
    "HTTP_X_FORWARDED_HOST", "HTTP_X_FORWARDED_PORT", "HTTP_X_FORWARDED_PROTO", "HTTP_X_REAL_IP",
    "HTTP_X_REQUESTED_WITH", "HTTP_X_REQUEST_ID",
)}


cdef inline str latin1(const uint8_t *text, size_t length):
    return PyUnicode_DecodeLatin1(<const char *>text, <Py_ssize_t>length, NULL)


def roomy(dict source):
    """A copy of source with room for 40 keys; copies of it keep that room (CPython clones the table)."""
    cdef dict base = prefork_roomy_dict(40)
    for key, value in source.items():
        base[key] = value
    return base


cdef class EnvironTable:
    """Makes environs for one worker.

    secure_schemes: header names (any case) to the value that means https, believed only from trusted peers.
    forwarder_names: header names with an underscore that trusted peers may set (SCRIPT_NAME, PATH_INFO).
    header_map: "drop", "refuse" or "dangerous", for every other name with an underscore.
    script_name: SCRIPT_NAME of every request, taken off PATH_INFO; "" for none.
    on_notice: called with a text the first time a name is dropped.
    """

    def __cinit__(self, dict secure_schemes, object forwarder_names, str header_map, str script_name, on_notice):
        memset(self.names, 0, sizeof(self.names))
        memset(self.targets, 0, sizeof(self.targets))
        self.secure_schemes = {
            "HTTP_" + name.upper().replace("-", "_"): value.encode("latin-1") for name, value in secure_schemes.items()
        }
        self.forwarder_names = {name.upper().encode("latin-1"): name.upper() for name in forwarder_names}
        self.script_name = script_name or None
        self.keep_underscores = header_map == "dangerous"
        self.refuse_underscores = header_map == "refuse"
        self.on_notice = on_notice
        self.noticed = set()

    def __dealloc__(self):
        cdef int i
        for i in range(NAMES):
            Py_XDECREF(self.names[i].key)
            Py_XDECREF(self.names[i].value)
        for i in range(TARGETS):
            Py_XDECREF(self.targets[i].target)
            Py_XDECREF(self.targets[i].path)
            Py_XDECREF(self.targets[i].query)

    cdef dict build(self, scan_head *head, const uint8_t *data, dict base, object remote_addr,
                    object remote_port, bint trusted, int *fault):
        """A new environ. *fault is set to a fault code when the head must be refused after all."""
        cdef dict environ = PyDict_Copy(base)
        cdef Name spare
        cdef Name *name
        cdef scan_field *field
        cdef const uint8_t *text
        cdef object value
        cdef PyObject *before
        cdef Py_ssize_t size
        cdef int i, scheme = 0
        cdef const uint8_t *method = data + head.method

        if not (head.method_len == 3 and memcmp(method, b"GET", 3) == 0):
            if head.method_len == 4 and memcmp(method, b"POST", 4) == 0:
                environ[REQUEST_METHOD] = POST
            else:
                value = METHODS.get((<const char *>method)[:head.method_len])
                environ[REQUEST_METHOD] = latin1(method, head.method_len) if value is None else value
        if head.minor == 0:
            environ[SERVER_PROTOCOL] = HTTP_10
        PyDict_SetItem(environ, REMOTE_ADDR, remote_addr)
        PyDict_SetItem(environ, REMOTE_PORT, remote_port)
        self.place_target(environ, head, data)

        for i in range(head.field_count):
            field = &head.fields[i]
            if field.underscore:
                if self.underscore(environ, field, data, trusted):
                    fault[0] = FAULT_UNDERSCORE
                continue
            name = self.lookup(data + field.name, field.name_len, &spare)
            text = data + field.value
            if (name.value != NULL and PyUnicode_GET_LENGTH(<object>name.value) == <Py_ssize_t>field.value_len
                    and memcmp(PyUnicode_1BYTE_DATA(<object>name.value), text, field.value_len) == 0):
                value = <object>name.value
            else:
                value = latin1(text, field.value_len)
                if field.value_len <= VALUE_SIZE and name != &spare:
                    Py_INCREF(value)
                    before = name.value
                    name.value = <PyObject *>value
                    Py_XDECREF(before)
            size = PyDict_GET_SIZE(environ)
            before = PyDict_SetDefault(environ, <object>name.key, value)
            if PyDict_GET_SIZE(environ) == size:
                self.join(environ, <object>name.key, value, <object>before, name.flags)
            if name.flags & NAME_SECURE and trusted:
                # Headers that contradict each other are refused, as gunicorn does: one of them is forged.
                i_scheme = 1 if value.encode("latin-1") == self.secure_schemes[<object>name.key] else 2
                if scheme and scheme != i_scheme:
                    fault[0] = FAULT_SCHEME_CONFLICT
                scheme = i_scheme
            if name == &spare:
                Py_XDECREF(spare.key)
        if scheme == 1:
            environ[URL_SCHEME] = "https"
        if head.authority_len and head.form == FORM_ABSOLUTE:
            # RFC 9112 3.2.2: the authority of an absolute target replaces the Host field.
            environ[HTTP_HOST] = latin1(data + head.authority, head.authority_len)
        return environ

    cdef dict outline(self, scan_head *head, const uint8_t *data):
        """The few keys that name a refused request in the access log; None when not even those are known."""
        if head.target_len == 0:
            return None
        return {
            REQUEST_METHOD: latin1(data + head.method, head.method_len),
            RAW_URI: latin1(data + head.target, head.target_len),
            SERVER_PROTOCOL: "HTTP/1.1" if head.minor else HTTP_10,
        }

    cdef int place_target(self, dict environ, scan_head *head, const uint8_t *data) except -1:
        cdef const uint8_t *text = data + head.target
        cdef size_t length = head.target_len
        cdef Target *entry = &self.targets[(length * 31 + text[length - 1] * 7 + text[length >> 1]) & (TARGETS - 1)]
        cdef str target, path, query
        cdef bytearray decoded
        cdef size_t size
        if (entry.target != NULL and PyUnicode_GET_LENGTH(<object>entry.target) == <Py_ssize_t>length
                and memcmp(PyUnicode_1BYTE_DATA(<object>entry.target), text, length) == 0):
            target = <str>entry.target
            path = <str>entry.path
            query = <str>entry.query
        else:
            target = latin1(text, length)
            if head.form == FORM_ASTERISK:
                path = EMPTY  # "*" is no path, and PATH_INFO begins with "/" or is empty (PEP 3333)
            elif head.path_len == 0:
                # RFC 9112 3.2.1: an empty path is "/"; authority form (CONNECT) has none.
                path = "/" if head.form == FORM_ABSOLUTE else EMPTY
            elif memchr(data + head.path, c'%', head.path_len) != NULL:
                decoded = bytearray(head.path_len)
                size = octets_unquote(<uint8_t *><char *>decoded, data + head.path, head.path_len)
                path = latin1(<uint8_t *><char *>decoded, size)
            elif head.form == FORM_ORIGIN and head.path_len == length:
                path = target
            else:
                path = latin1(data + head.path, head.path_len)
            query = latin1(data + head.query, head.query_len) if head.query_len else EMPTY
            if length <= TARGET_SIZE:
                remember(&entry.target, target)
                remember(&entry.path, path)
                remember(&entry.query, query)
        PyDict_SetItem(environ, RAW_URI, target)
        PyDict_SetItem(environ, REQUEST_URI, target)
        if query is not EMPTY:
            PyDict_SetItem(environ, QUERY_STRING, query)
        if self.script_name is not None:
            path = path[len(self.script_name):] if under(path, self.script_name) else path
        PyDict_SetItem(environ, PATH_INFO, path)
        return 0

    cdef Name *lookup(self, const uint8_t *text, size_t length, Name *spare) except NULL:
        cdef size_t at, k
        cdef Name *name
        cdef Name *place = NULL
        if length > NAME_SIZE:
            name = spare
            memset(name, 0, sizeof(Name))
        else:
            at = (length * 37 + text[0] + text[length - 1] * 11 + text[length >> 1] * 5) & (NAMES - 1)
            for k in range(4):
                name = &self.names[(at + k) & (NAMES - 1)]
                if name.length == length and memcmp(name.text, text, length) == 0:
                    return name
                if name.length == 0 and place == NULL:
                    place = name
            # All four taken: the last makes way. Junk names can slow others down, never fill memory.
            name = place if place != NULL else &self.names[(at + 3) & (NAMES - 1)]
        cdef str key = (<const char *>text)[:length].decode("latin-1").upper().replace("-", "_")
        if key != "CONTENT_LENGTH" and key != "CONTENT_TYPE":
            key = "HTTP_" + key
        cdef PyObject *old_key = name.key
        cdef PyObject *old_value = name.value
        key = <str>KEYS.get(key, key)
        Py_INCREF(key)
        name.key = <PyObject *>key
        name.value = NULL
        name.flags = NAME_COOKIE if key == "HTTP_COOKIE" else 0
        if key in self.secure_schemes:
            name.flags |= NAME_SECURE
        if name != spare:
            name.length = <unsigned short>length
            memcpy(name.text, text, length)
        Py_XDECREF(old_key)
        Py_XDECREF(old_value)
        return name

    cdef int join(self, dict environ, object key, object value, object before, int flags) except -1:
        # RFC 9110 5.3: repeated fields are one list, in order.
        environ[key] = before + ("; " if flags & NAME_COOKIE else ",") + value
        return 0

    cdef int underscore(self, dict environ, scan_field *field, const uint8_t *data, bint trusted) except -1:
        """A name with '_' could pose as one with '-' once both are HTTP_A_B. 1: refuse the request."""
        cdef bytes name = (<const char *>(data + field.name))[:field.name_len].upper()
        cdef str value = latin1(data + field.value, field.value_len)
        cdef str key, path
        if trusted and name in self.forwarder_names:
            key = <str>self.forwarder_names[name]
            environ[key if key in (SCRIPT_NAME, PATH_INFO) else "HTTP_" + key] = value
            if key == SCRIPT_NAME:
                path = <str>environ[PATH_INFO]
                if under(path, value):
                    environ[PATH_INFO] = path[len(value):]
            return 0
        if self.keep_underscores:
            key = "HTTP_" + name.decode("latin-1").replace("-", "_")
            if key in environ:
                self.join(environ, key, value, environ[key], 0)
            else:
                environ[key] = value
            return 0
        if self.refuse_underscores:
            return 1
        if name not in self.noticed and len(self.noticed) < 64:
            self.noticed.add(name)
            self.notice(f"header field {name.decode('latin-1')} dropped: its name holds '_' (--header-map)")
        return 0

    cdef void notice(self, str text) noexcept:
        self.on_notice(text)  # whatever is raised by that goes to sys.unraisablehook


cdef bint under(str path, str prefix):
    return path == prefix or path.startswith(prefix + "/")


cdef inline void remember(PyObject **place, object value):
    cdef PyObject *before = place[0]
    Py_INCREF(value)
    place[0] = <PyObject *>value
    Py_XDECREF(before)
