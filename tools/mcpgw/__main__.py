"""`python -m mcpgw`: the command without its script on the PATH."""

from .cli import main

main()
