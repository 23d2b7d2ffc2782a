"""The server that the official conformance suites are run against.

    micropython server.py [NAME=VALUE ...] PORT    over HTTP
    as main.py of a board                          on the console

What it offers has names and texts that the suites know; NAME=VALUE are settings of the gateway.
"""

import sys

import fixtures_ask
import fixtures_content
import fixtures_offers
import fixtures_rounds
import fixtures_tasks

from mcp_gw import Gateway


def make(**settings):
    """The gateway with everything registered."""
    gw = Gateway(
        "conformance",
        "1.0.0",
        "Offers what the conformance suites look for.",
        title="Conformance fixtures",
        **settings,
    )
    # The suites call the first tool of the list without arguments: it is one that needs none.
    for part in (
        fixtures_content,
        fixtures_ask,
        fixtures_rounds,
        fixtures_tasks,
        fixtures_offers,
    ):
        part.add(gw)
    return gw


def main(arguments):
    if not arguments:
        make().run()
        return
    settings = {}
    for pair in arguments[:-1]:
        name, value = pair.split("=")
        settings[name] = int(value)
    make(**settings).run("http", port=int(arguments[-1]))


if __name__ == "__main__":
    main(sys.argv[1:])
