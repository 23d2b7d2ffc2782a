"""Images of a board's queue: an independent reader of docs/queue-format.md, written from that page
and sharing no code with the board's (mcp_gw/queue)."""

from .. import UserError


class QueueError(UserError):
    """The image is no queue, or of a format that is not known here."""
