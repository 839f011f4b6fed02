"""Start a server that has no command line for what we need.

    hosted.py SERVER MODULE:ATTR PORT WORKERS [LOGFILE]

Each function is what the server's own documentation shows, no more. Run in benchmarks/apps.
"""

import importlib
import os
import signal
import sys


def bjoern(app, port, workers, log):
    """README of bjoern, "Multiple Processes": listen once, fork, run in each. TCP_NODELAY is our kindness."""
    import socket

    import bjoern

    bjoern.listen(app, "127.0.0.1", port).setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if workers == 1:
        bjoern.run()
    else:
        fork(bjoern.run, workers)


def fastwsgi(app, port, workers, log):
    """`fastwsgi.run`, with its own option for several processes."""
    import fastwsgi

    fastwsgi.server.tcp_nodelay = 1
    if workers == 1:
        fastwsgi.run(wsgi_app=app, host="127.0.0.1", port=port, loglevel=2)
    else:
        fastwsgi.run(wsgi_app=app, host="127.0.0.1", port=port, loglevel=2, workers=workers)


def pywsgi(app, port, workers, log):
    """gevent.pywsgi as its documentation shows it; several processes share the listening socket.

    TCP_NODELAY, which accepted sockets inherit, is our kindness: see its row in benchmarks/servers.py.
    """
    from gevent import os as gevent_os
    from gevent import socket
    from gevent.pywsgi import WSGIServer

    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(1024)
    server = WSGIServer(listener, app, log=open(log, "a") if log else None)  # noqa: SIM115, PTH123
    for _ in range(workers - 1):
        if gevent_os.fork() == 0:
            break
    server.serve_forever()


def fork(run, workers):
    children = []
    for _ in range(workers):
        pid = os.fork()
        if pid == 0:
            run()
            os._exit(0)
        children.append(pid)
    signal.signal(signal.SIGTERM, lambda *_: [os.kill(pid, signal.SIGTERM) for pid in children])
    for pid in children:
        os.waitpid(pid, 0)


def main():
    server, target, port, workers, *log = sys.argv[1:]
    sys.path.insert(0, ".")
    if server == "pywsgi":
        from gevent import monkey

        monkey.patch_all()
    module, _, attribute = target.partition(":")
    app = getattr(importlib.import_module(module), attribute)
    {"bjoern": bjoern, "fastwsgi": fastwsgi, "pywsgi": pywsgi}[server](
        app, int(port), int(workers), log[0] if log else None
    )


main()
