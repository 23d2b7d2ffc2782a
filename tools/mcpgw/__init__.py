"""Host tools of mcp_gw: bridge, simulators, flashing and deployment. The command is `mcpgw`."""

__version__ = "0.1.0"


class UserError(Exception):
    """Something the user can put right. The text is one line and says what to do.

    exit_code: 1 for what went wrong while working, 2 for a wrong invocation.
    """

    def __init__(self, text, exit_code=1):
        super().__init__(text)
        self.exit_code = exit_code
