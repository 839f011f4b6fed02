"""What gunicorn has and prefork has not, with what to do instead: one row a setting of gunicorn 27.

A configuration moved from gunicorn must not lose a setting silently: each of these is refused, on the command
line as in a file, unless it asks for nothing. It says what gunicorn does by default or what prefork always
does, or it only says more about something that is refused by itself.
"""

from __future__ import annotations

_TLS = "TLS is not spoken here; let nginx, HAProxy or another proxy in front do it"
_PROXY = "the PROXY protocol is not supported; let the proxy send X-Forwarded-For and X-Forwarded-Proto"
_HTTP = "only HTTP/1.1 is spoken here; leave it out"
_HTTP2 = "HTTP/2 is not spoken here; let a proxy in front do it"
_STATSD = "statsd is not supported; leave it out"
_SYSLOG = "syslog is not supported; log to stderr for the supervisor, or give --log-config a SysLogHandler"
_DIRTY = "there are no dirty workers here; use a task queue"
_ASGI = "ASGI applications are not served here, only WSGI"
_CONTROL = "there is no control socket; use signals"
_STRICT = "malformed requests are always refused; leave it out"
_PASTE = (
    "PasteDeploy's files are not read; name what loads them: "
    "paste.deploy:loadapp('config:app.ini', relative_to='.')"
)
_PARSER = "there is one parser, a compiled one; leave it out"


class Foreign:
    """flags: gunicorn's.  instead: what to say.  default: gunicorn's own, or what prefork does always, which
    is no request for anything (what is false is none either).  below: the setting without which this one does
    nothing.  bare: the flag stands without a value, and means true."""

    __slots__ = ("bare", "below", "default", "flags", "instead")

    def __init__(
        self, flags: str, instead: str, default: object = None, *, below: str = "", bare: bool = False
    ) -> None:
        self.flags = tuple(flags.split())
        self.instead = instead
        self.default = default
        self.below = below
        self.bare = bare

    def harmless(self, value: object) -> bool:
        return bool(self.below) or not value or value == self.default

    def harmless_text(self, text: str) -> bool:
        """The same of what a command line says."""
        return self.harmless(text) or (self.default is not None and text == str(self.default))


FOREIGN = {
    "certfile": Foreign("--certfile", _TLS),
    "keyfile": Foreign("--keyfile", _TLS),
    "ca_certs": Foreign("--ca-certs", _TLS),
    "cert_reqs": Foreign("--cert-reqs", _TLS),
    "ciphers": Foreign("--ciphers", _TLS),
    "ssl_version": Foreign("--ssl-version", _TLS, 2),
    "suppress_ragged_eofs": Foreign("--suppress-ragged-eofs", _TLS, below="certfile", bare=True),
    "do_handshake_on_connect": Foreign("--do-handshake-on-connect", _TLS, below="certfile", bare=True),
    "ssl_context": Foreign("", _TLS),
    "proxy_protocol": Foreign("--proxy-protocol", _PROXY, "off"),
    "proxy_allow_ips": Foreign("--proxy-allow-from", _PROXY, "127.0.0.1,::1"),
    "protocol": Foreign("--protocol", _HTTP, "http"),
    "uwsgi_allow_ips": Foreign("--uwsgi-allow-from", _HTTP, "127.0.0.1,::1"),
    "http_protocols": Foreign("--http-protocols", _HTTP2, "h1"),
    "http2_cleartext": Foreign("--http2-cleartext", _HTTP2, "off"),
    "http2_max_concurrent_streams": Foreign("--http2-max-concurrent-streams", _HTTP2, 100),
    "http2_initial_window_size": Foreign("--http2-initial-window-size", _HTTP2, 65535),
    "http2_max_frame_size": Foreign("--http2-max-frame-size", _HTTP2, 16384),
    "http2_max_header_list_size": Foreign("--http2-max-header-list-size", _HTTP2, 65536),
    "http_parser": Foreign("--http-parser", _PARSER, "auto"),
    "permit_obsolete_folding": Foreign("--permit-obsolete-folding", _STRICT, bare=True),
    "strip_header_spaces": Foreign("--strip-header-spaces", _STRICT, bare=True),
    "permit_unconventional_http_method": Foreign("--permit-unconventional-http-method", _STRICT, bare=True),
    "permit_unconventional_http_version": Foreign("--permit-unconventional-http-version", _STRICT, bare=True),
    "casefold_http_method": Foreign("--casefold-http-method", _STRICT, bare=True),
    "statsd_host": Foreign("--statsd-host", _STATSD),
    "statsd_prefix": Foreign("--statsd-prefix", _STATSD, below="statsd_host"),
    "dogstatsd_tags": Foreign("--dogstatsd-tags", _STATSD, below="statsd_host"),
    "enable_backlog_metric": Foreign("--enable-backlog-metric", _STATSD, below="statsd_host", bare=True),
    "syslog": Foreign("--log-syslog", _SYSLOG, bare=True),
    "syslog_addr": Foreign("--log-syslog-to", _SYSLOG, below="syslog"),
    "syslog_prefix": Foreign("--log-syslog-prefix", _SYSLOG, below="syslog"),
    "syslog_facility": Foreign("--log-syslog-facility", _SYSLOG, below="syslog"),
    "disable_redirect_access_to_syslog": Foreign(
        "--disable-redirect-access-to-syslog", _SYSLOG, below="syslog", bare=True
    ),
    "logger_class": Foreign(
        "--logger-class",
        "loggers are configured with --log-config, --log-config-json or logconfig_dict",
        "gunicorn.glogging.Logger",
    ),
    "enable_stdio_inheritance": Foreign(
        "-R --enable-stdio-inheritance",
        "workers always inherit stdout and stderr; leave it out",
        True,
        bare=True,
    ),
    "paste": Foreign("--paste --paster", _PASTE),
    "raw_paste_global_conf": Foreign("--paste-global", _PASTE),
    "spew": Foreign(
        "--spew", "tracing every line is not supported; a profiler such as py-spy sees more", bare=True
    ),
    "reload_engine": Foreign(
        "--reload-engine", "watchfiles is used when it is installed, else polling; leave it out", "auto"
    ),
    "tmp_upload_dir": Foreign("", "say worker_tmp_dir"),
    "control_socket": Foreign("--control-socket", _CONTROL),
    "control_socket_mode": Foreign("--control-socket-mode", _CONTROL, 0o600),
    "control_socket_disable": Foreign("--no-control-socket", _CONTROL, True, bare=True),
    "dirty_apps": Foreign("--dirty-app", _DIRTY),
    "dirty_workers": Foreign("--dirty-workers", _DIRTY),
    "dirty_timeout": Foreign("--dirty-timeout", _DIRTY, 300),
    "dirty_threads": Foreign("--dirty-threads", _DIRTY, 1),
    "dirty_graceful_timeout": Foreign("--dirty-graceful-timeout", _DIRTY, 30),
    "on_dirty_starting": Foreign("", _DIRTY),
    "dirty_post_fork": Foreign("", _DIRTY),
    "dirty_worker_init": Foreign("", _DIRTY),
    "dirty_worker_exit": Foreign("", _DIRTY),
    "root_path": Foreign("--root-path", "it is for ASGI; the proxy's SCRIPT_NAME field does this for WSGI"),
    "asgi_loop": Foreign("--asgi-loop", _ASGI, "auto"),
    "asgi_lifespan": Foreign("--asgi-lifespan", _ASGI, "auto"),
    "asgi_disconnect_grace_period": Foreign("--asgi-disconnect-grace-period", _ASGI, 3),
    "websocket_max_message_size": Foreign("--websocket-max-message-size", _ASGI, 16777216),
}
