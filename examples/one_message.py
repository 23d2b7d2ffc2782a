# One message without a transport: bytes in, bytes out. For a link this package does not know
# (radio, CAN).

from mcp_gw import Gateway

gw = Gateway("echo", version="1.0")


@gw.tool("The answer")
def answer():
    return 42


print(
    gw.process(
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"answer"}}'
    ).decode()
)
