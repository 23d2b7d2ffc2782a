"""A listener behind mcp_gw's TLS, for either interpreter: echoes one line per connection.

    PYTHON tls_listener.py PORT

Reads a line {"cert": PATH, "key": PATH, "client_ca": PATH} from standard input, "hex:..." instead
of a path for bytes. Says when it listens, then for each connection what became of it: the line,
or the error.
"""

import json
import socket
import sys

from mcp_gw.errors import ConfigError
from mcp_gw.tls_server import tls_from


def main(port, options):
    for name, value in options.items():
        if value.startswith("hex:"):
            options[name] = bytes.fromhex(value[4:])
    try:
        context = tls_from(options)
    except ConfigError as e:
        print("ConfigError", e)
        return
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(socket.getaddrinfo("127.0.0.1", port)[0][-1])
    listener.listen(5)
    print("listening")
    while True:
        client = listener.accept()[0]
        try:
            stream = context.wrap_socket(client, server_side=True)
            if not hasattr(stream, "readline"):
                stream = stream.makefile("rwb", 0)
            line = stream.readline()
            stream.write(line)
            stream.close()
            print("line", line.decode().strip())
        except (OSError, ValueError) as e:
            print("error", str(e).replace("\n", " "))
        client.close()


main(int(sys.argv[1]), json.loads(sys.stdin.readline()))
