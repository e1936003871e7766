"""python -IS forked.py SOCKET PROGRAM [ARGUMENTS]: a program's process, forked by the server of `forkserver.py`."""

import json
import os
import signal
import socket
import sys

address, program, *arguments = sys.argv[1:]
server = socket.socket(socket.AF_UNIX)
server.connect(address)
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
    signal.signal(number, lambda number, frame: server.sendall(bytes([number])))
request = {
    "program": program,
    "arguments": arguments,
    "folder": os.getcwd(),  # noqa: PTH109 (pathlib takes longer to load than all of this)
    "environment": dict(os.environ),
}
content = json.dumps(request).encode()
content = b"%d\n" % len(content) + content
sent = socket.send_fds(server, [content], [0, 1, 2])
server.sendall(content[sent:])
for number in (0, 1, 2):
    os.close(number)
code = int(server.makefile().read() or 1)
if code < 0:
    signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
sys.exit(code)
