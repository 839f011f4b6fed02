# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False, binding=False
"""A scanned head becomes a WSGI environ (PEP 3333, "environ Variables").

Owns the intern table: raw field name -> ``HTTP_*`` key and the last value seen with that name. Clients
repeat themselves (Host, User-Agent, Accept), so most fields cost one memcmp and no new object. Those that say
the very same again, like a browser that fetches from one page, or a proxy's check, have a Template.
"""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_Copy, PyDict_SetItem
from cpython.list cimport PyList_GET_ITEM
from cpython.ref cimport Py_INCREF, Py_XDECREF
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memchr, memcmp, memcpy, memset
from prefork.engine.scan cimport (
    FORM_ABSOLUTE, FORM_ASTERISK, FORM_ORIGIN, scan_block_keep, scan_field, scan_head,
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
cdef str WEBSOCKET = "HTTP_SEC_WEBSOCKET_KEY"
cdef str EMPTY = ""
cdef dict METHODS = {m.encode(): m for m in ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS")}
cdef str GET = "GET"
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


cdef class Template:
    """A head's fields, and the environ that they came to."""


cdef class EnvironTable:
    """Makes environs for one worker.

    secure_schemes: header names (any case) to the value that means https, believed only from trusted peers.
    forwarder_names: header names with an underscore that trusted peers may send; SCRIPT_NAME is obeyed.
    header_map: "drop", "refuse" or "dangerous", for every other name with an underscore.
    script_name: SCRIPT_NAME of every request whose path is below it, taken off PATH_INFO; "" for none.
    on_notice: called with a text the first time a name is dropped, or asks for what is not served.
    """

    def __cinit__(self, dict secure_schemes, object forwarder_names, str header_map, str script_name, on_notice):
        memset(self.names, 0, sizeof(self.names))
        memset(self.targets, 0, sizeof(self.targets))
        memset(self.blocks_seen, 0, sizeof(self.blocks_seen))
        self.templates = [None] * TEMPLATES
        self.secure_schemes = {
            "HTTP_" + name.upper().replace("-", "_"): value.encode("latin-1") for name, value in secure_schemes.items()
        }
        self.forwarder_names = {name.upper().encode("latin-1"): name.upper() for name in forwarder_names}
        self.script_name = script_name.rstrip("/") or None
        self.keep_underscores = header_map == "dangerous"
        self.refuse_underscores = header_map == "refuse"
        self.on_notice = on_notice
        self.noticed = set()

    def __dealloc__(self):
        cdef int i
        for i in range(NAMES):
            Py_XDECREF(self.names[i].key)
            Py_XDECREF(self.names[i].value)
        for i in range(TARGETS + 1):
            Py_XDECREF(self.targets[i].target)
            Py_XDECREF(self.targets[i].script_name)
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
            environ[REQUEST_METHOD] = method_name(method, head.method_len)
        if head.minor == 0:
            environ[SERVER_PROTOCOL] = HTTP_10
        PyDict_SetItem(environ, REMOTE_ADDR, remote_addr)
        PyDict_SetItem(environ, REMOTE_PORT, remote_port)
        place_target(environ, self.target_of(head, data), 0)

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

    # --- templates ---

    cdef Template find(self, const uint8_t *block, size_t size, dict base, bint trusted):
        """The template for a head whose fields begin at `block`; None."""
        cdef Template like
        cdef PyObject *item
        cdef Py_ssize_t length
        cdef int i, k
        for k in range(TEMPLATES):
            i = (self.template_hit + k) & (TEMPLATES - 1)
            item = PyList_GET_ITEM(self.templates, i)
            if <object>item is None:
                continue
            like = <Template>item
            length = PyBytes_GET_SIZE(like.block)
            if (<size_t>length <= size and like.trusted == trusted and like.base is base
                    and memcmp(PyBytes_AS_STRING(like.block), block, length) == 0):
                self.template_hit = i
                return like
        return None

    cdef dict build_like(self, Template like, scan_head *head, const uint8_t *data, object remote_addr, object remote_port):
        """A new environ for a head whose fields are the template's."""
        cdef dict environ = like.environ
        cdef Target *target = self.target_of(head, data)
        cdef const uint8_t *method = data + head.method
        if not same(like.method, method, head.method_len):
            like.method = method_name(method, head.method_len)
            PyDict_SetItem(environ, REQUEST_METHOD, like.method)
        if like.target is not <object>target.target:
            like.target = None  # should the next fail
            place_target(environ, target, 1)
            like.target = <object>target.target
        if like.remote_addr is not remote_addr:
            PyDict_SetItem(environ, REMOTE_ADDR, remote_addr)
            like.remote_addr = remote_addr
        if like.remote_port is not remote_port:
            PyDict_SetItem(environ, REMOTE_PORT, remote_port)
            like.remote_port = remote_port
        return PyDict_Copy(environ)

    cdef int learn(self, scan_head *head, const uint8_t *data, dict environ, dict base, object remote_addr,
                   object remote_port, bint trusted) except -1:
        """A head had no template: make one if its fields were here a short while ago too. environ: not yet shown."""
        cdef const uint8_t *block = data + head.fields_at
        cdef size_t size = head.head_len - head.fields_at
        cdef Template like
        cdef uint64_t mark
        cdef int i, k
        if size > BLOCK_SIZE or head.form != FORM_ORIGIN:
            return 0
        mark = block_mark(block, size)
        for i in range(TEMPLATES):
            if self.blocks_seen[i] == mark:
                break
        else:
            self.blocks_seen[self.block_next] = mark
            self.block_next = (self.block_next + 1) & (TEMPLATES - 1)
            return 0
        for k in range(head.field_count):
            if head.fields[k].underscore:
                return 0  # it may say what the path is
        like = Template.__new__(Template)
        if not scan_block_keep(&like.facts, head):
            return 0
        like.block = (<const char *>block)[:size]
        like.base = base
        like.trusted = trusted
        like.environ = PyDict_Copy(environ)
        like.method = environ[REQUEST_METHOD]
        like.target = environ[RAW_URI]
        like.remote_addr = remote_addr
        like.remote_port = remote_port
        self.blocks_seen[i] = 0
        self.templates[self.template_next] = like
        self.template_hit = self.template_next
        self.template_next = (self.template_next + 1) & (TEMPLATES - 1)
        return 0

    cdef Target *target_of(self, scan_head *head, const uint8_t *data) except NULL:
        """The target and its parts. One target is one str object for as long as it is remembered, and no longer."""
        cdef const uint8_t *text = data + head.target
        cdef size_t length = head.target_len
        cdef size_t at = TARGETS
        cdef Target *entry
        cdef str target, path
        cdef bytearray decoded
        cdef size_t size
        cdef bint below
        if length <= TARGET_SIZE:
            at = (length * 31 + text[length - 1] * 7 + text[length >> 1]) & (TARGETS - 1)
        entry = &self.targets[at]
        if entry.target != NULL and at != TARGETS and same(<object>entry.target, text, length):
            return entry
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
        if self.script_name is not None:
            below = under(path, self.script_name)
            remember(&entry.script_name, self.script_name if below else EMPTY)
            path = path[len(self.script_name):] if below else path
        remember(&entry.path, path)
        remember(&entry.query, latin1(data + head.query, head.query_len) if head.query_len else EMPTY)
        remember(&entry.target, target)
        return entry

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
        if key == WEBSOCKET and key not in self.noticed:
            # Whoever moves here from a server that hands out its socket is told by a library that "cannot obtain" it.
            self.noticed.add(key)
            self.notice("a client asks for a WebSocket, and none is served here: see docs/applications.md")
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
            environ["HTTP_" + key] = value
            if key == SCRIPT_NAME:
                # Wherever it is cut, the two are the path (PEP 3333): a proxy says where, never what the path is.
                mount(environ, <str>environ[SCRIPT_NAME] + <str>environ[PATH_INFO], value.rstrip("/"))
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


cdef int mount(dict environ, str path, str prefix) except -1:
    """Cut the path behind the prefix, if it is one."""
    if not under(path, prefix):
        prefix = EMPTY
    environ[SCRIPT_NAME] = prefix
    environ[PATH_INFO] = path[len(prefix):]
    return 0


cdef inline bint same(object known, const uint8_t *text, size_t length):
    return (
        PyUnicode_GET_LENGTH(known) == <Py_ssize_t>length and memcmp(PyUnicode_1BYTE_DATA(known), text, length) == 0
    )


cdef object method_name(const uint8_t *text, size_t length):
    cdef object known
    if length == 3 and memcmp(text, b"GET", 3) == 0:
        return GET
    if length == 4 and memcmp(text, b"POST", 4) == 0:
        return POST
    known = METHODS.get((<const char *>text)[:length])
    return latin1(text, length) if known is None else known


cdef int place_target(dict environ, Target *target, bint used) except -1:
    """used: there was another target in this environ before."""
    PyDict_SetItem(environ, RAW_URI, <object>target.target)
    PyDict_SetItem(environ, REQUEST_URI, <object>target.target)
    if used or <object>target.query is not EMPTY:
        PyDict_SetItem(environ, QUERY_STRING, <object>target.query)
    if target.script_name != NULL:
        PyDict_SetItem(environ, SCRIPT_NAME, <object>target.script_name)
    PyDict_SetItem(environ, PATH_INFO, <object>target.path)
    return 0


cdef inline uint64_t block_mark(const uint8_t *block, size_t size) noexcept:
    """Not 0, and hardly ever the same for two blocks that came one after the other. Any client can have them agree."""
    cdef uint64_t sum = size * 0x9e3779b97f4a7c15u
    cdef uint64_t word
    cdef int i
    if size < 8:
        return 1
    for i in range(5):
        memcpy(&word, block + (size - 8) * i // 4, 8)
        sum = (sum ^ word) * 0xff51afd7ed558ccdu
        sum ^= sum >> 29
    return sum | 1


cdef inline void remember(PyObject **place, object value):
    cdef PyObject *before = place[0]
    Py_INCREF(value)
    place[0] = <PyObject *>value
    Py_XDECREF(before)
