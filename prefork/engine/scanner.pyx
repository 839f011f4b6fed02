# cython: language_level=3, boundscheck=False, wraparound=False, freethreading_compatible=True
"""The scanner as Python sees it: for tests and tools. The request path calls the C itself.

Owns nothing but a copy of the bytes it was fed. What the bytes mean, and what is refused, stands in scan.h.
"""
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport uint8_t, uint32_t

from prefork.engine cimport scan

from typing import NamedTuple

FIELDS_MAX = scan.SCAN_FIELDS_MAX

FAULTS = {
    scan.FAULT_METHOD: "method",
    scan.FAULT_TARGET: "target",
    scan.FAULT_TARGET_TOO_LONG: "target_too_long",
    scan.FAULT_VERSION: "version",
    scan.FAULT_VERSION_UNKNOWN: "version_unknown",
    scan.FAULT_BARE_LF: "bare_lf",
    scan.FAULT_BARE_CR: "bare_cr",
    scan.FAULT_FIELD_NAME: "field_name",
    scan.FAULT_FIELD_VALUE: "field_value",
    scan.FAULT_FOLDING: "folding",
    scan.FAULT_FIELD_TOO_LARGE: "field_too_large",
    scan.FAULT_TOO_MANY_FIELDS: "too_many_fields",
    scan.FAULT_HEAD_TOO_LARGE: "head_too_large",
    scan.FAULT_HOST_MISSING: "host_missing",
    scan.FAULT_HOST_REPEATED: "host_repeated",
    scan.FAULT_HOST: "host",
    scan.FAULT_LENGTH: "length",
    scan.FAULT_LENGTH_REPEATED: "length_repeated",
    scan.FAULT_LENGTH_AND_CODING: "length_and_coding",
    scan.FAULT_CODING: "coding",
    scan.FAULT_CODING_UNKNOWN: "coding_unknown",
    scan.FAULT_CODING_IN_10: "coding_in_10",
    scan.FAULT_TYPE_REPEATED: "type_repeated",
    scan.FAULT_EXPECTATION: "expectation",
    scan.FAULT_CHUNK_SIZE: "chunk_size",
    scan.FAULT_CHUNK_EXTENSION: "chunk_extension",
    scan.FAULT_CHUNK_END: "chunk_end",
    scan.FAULT_CHUNK_OVERHEAD: "chunk_overhead",
    scan.FAULT_TRAILER: "trailer",
    scan.FAULT_TRAILER_FORBIDDEN: "trailer_forbidden",
    scan.FAULT_TRAILER_TOO_LARGE: "trailer_too_large",
}
FORMS = {
    scan.FORM_ORIGIN: "origin",
    scan.FORM_ABSOLUTE: "absolute",
    scan.FORM_AUTHORITY: "authority",
    scan.FORM_ASTERISK: "asterisk",
}
KINDS = {
    scan.FIELD_OTHER: "other",
    scan.FIELD_HOST: "host",
    scan.FIELD_CONTENT_LENGTH: "content-length",
    scan.FIELD_CONTENT_TYPE: "content-type",
    scan.FIELD_TRANSFER_ENCODING: "transfer-encoding",
    scan.FIELD_CONNECTION: "connection",
    scan.FIELD_EXPECT: "expect",
    scan.FIELD_UPGRADE: "upgrade",
}


class Fault(Exception):
    def __init__(self, code, at, method=b"", target=b""):
        super().__init__(code, at)
        self.code = code
        self.at = at
        self.name = FAULTS[code]
        self.method = method
        self.target = target

    def __str__(self):
        return f"{self.name} at byte {self.at}"


class Field(NamedTuple):
    name: bytes
    value: bytes
    kind: str
    underscore: bool


class Head(NamedTuple):
    method: bytes
    target: bytes
    form: str
    path: bytes
    query: bytes
    authority: bytes
    minor: int
    fields: tuple
    chunked: bool
    length: object
    keep_alive: bool
    expect_continue: bool
    upgrade: bool
    head_len: int


cdef class HeadScanner:
    cdef scan.scan_head head
    cdef scan.scan_limits limits
    cdef object kept

    def __init__(self, *, uint32_t head_size=65536, uint32_t line_size=4094, uint32_t field_size=8190,
                 uint32_t field_count=100):
        self.limits.head_size = head_size
        self.limits.line_size = line_size
        self.limits.field_size = field_size
        self.limits.field_count = field_count
        self.kept = bytearray()
        scan.scan_head_begin(&self.head)

    @property
    def looked(self):
        return self.head.pos

    def feed(self, data):
        self.kept += data
        return self.scan(self.kept)

    def scan(self, buffer):
        cdef Py_buffer view
        cdef scan.scan_status status
        cdef const uint8_t *given
        PyObject_GetBuffer(buffer, &view, PyBUF_SIMPLE)
        try:
            given = <const uint8_t *>view.buf
            status = scan.scan_head_run(&self.head, given, <size_t>view.len, &self.limits)
            if status == scan.SCAN_FAULTY:
                raise Fault(
                    <int>self.head.fault,
                    self.head.fault_at,
                    self._cut(given, self.head.method, self.head.method_len),
                    self._cut(given, self.head.target, self.head.target_len),
                )
            return self._found(given) if status == scan.SCAN_DONE else None
        finally:
            PyBuffer_Release(&view)

    cdef bytes _cut(self, const uint8_t *buf, uint32_t at, uint32_t size):
        return (<const char *>buf)[at:at + size]

    cdef object _found(self, const uint8_t *buf):
        cdef scan.scan_head *h = &self.head
        cdef scan.scan_field *field
        cdef int i
        fields = []
        for i in range(h.field_count):
            field = &h.fields[i]
            fields.append(Field(
                self._cut(buf, field.name, field.name_len),
                self._cut(buf, field.value, field.value_len),
                KINDS[field.kind],
                bool(field.underscore),
            ))
        return Head(
            method=self._cut(buf, h.method, h.method_len),
            target=self._cut(buf, h.target, h.target_len),
            form=FORMS[h.form],
            path=self._cut(buf, h.path, h.path_len),
            query=self._cut(buf, h.query, h.query_len),
            authority=self._cut(buf, h.authority, h.authority_len),
            minor=h.minor,
            fields=tuple(fields),
            chunked=bool(h.chunked),
            length=h.content_length if h.has_length else None,
            keep_alive=bool(h.keep_alive),
            expect_continue=bool(h.expect_continue),
            upgrade=bool(h.upgrade),
            head_len=h.head_len,
        )


def scan_head(data, *, head_size=65536, line_size=4094, field_size=8190, field_count=100):
    return HeadScanner(head_size=head_size, line_size=line_size, field_size=field_size,
                       field_count=field_count).scan(data)


cdef class ChunkScanner:
    cdef scan.scan_chunks chunks
    cdef uint32_t trailer_size
    cdef readonly bint done
    cdef readonly object used

    def __init__(self, *, uint32_t trailer_size=8192):
        self.trailer_size = trailer_size
        self.done = False
        self.used = 0
        scan.scan_chunks_begin(&self.chunks)

    @property
    def total(self):
        return self.chunks.total

    def feed(self, buffer):
        cdef Py_buffer view
        cdef scan.scan_status status
        cdef const uint8_t *given
        cdef size_t length, at = 0, used = 0, data = 0, data_len = 0
        body = bytearray()
        PyObject_GetBuffer(buffer, &view, PyBUF_SIMPLE)
        try:
            given = <const uint8_t *>view.buf
            length = <size_t>view.len
            while True:
                status = scan.scan_chunks_run(
                    &self.chunks, given + at, length - at, self.trailer_size, &used, &data, &data_len
                )
                if status == scan.SCAN_DATA:
                    body += (<const char *>given)[at + data:at + data + data_len]
                at += used
                self.used += used
                if status == scan.SCAN_FAULTY:
                    raise Fault(<int>self.chunks.fault, self.used)
                if status != scan.SCAN_DATA:
                    self.done = status == scan.SCAN_DONE
                    return bytes(body)
        finally:
            PyBuffer_Release(&view)
