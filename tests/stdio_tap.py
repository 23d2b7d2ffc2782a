"""Stands between a client and a server over stdio and writes down what goes either way:

    MCPGW_WIRE_LOGS=FOLDER python stdio_tap.py COMMAND ...

Any client that starts its server by a command can be listened to. Each run makes a file of its own
in FOLDER; wire_record.Logged reads it. Without the variable COMMAND is just run.
"""

import os
import signal
import subprocess
import sys
import threading

SENT, RECEIVED = b">", b"<"


def copy(source, sink, log, mark):
    """Pass bytes on until the end; each portion is written down before it goes on."""
    try:
        while data := os.read(source, 65536):
            os.write(log, b"%s%d\n%s" % (mark, len(data), data))
            while data:
                data = data[os.write(sink, data) :]
    except OSError:
        pass  # one side is gone
    finally:
        os.close(sink)


def main(command):
    folder = os.environ.get("MCPGW_WIRE_LOGS")
    if not folder:
        os.execvp(command[0], command)
    name = f"{folder}/{os.getpid()}-{os.urandom(4).hex()}"
    log = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, frame: server.send_signal(number))
    stdin, stdout = os.dup(server.stdin.fileno()), server.stdout.fileno()
    server.stdin.close()
    asking = threading.Thread(target=copy, args=(0, stdin, log, SENT), daemon=True)
    asking.start()
    copy(stdout, 1, log, RECEIVED)
    code = server.wait()
    os._exit(code if code >= 0 else 128 - code)


if __name__ == "__main__":
    main(sys.argv[1:])
