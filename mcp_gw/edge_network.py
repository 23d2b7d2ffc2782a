"""What a board's configuration (edge.py) says of the network: Wi-Fi, the time, dialing out."""

from .errors import ConfigError


def join(edge):
    """Begin to join the wireless network of an Edge; nothing waits for it."""
    row = edge.part("wifi")
    if not row:
        return
    try:
        from .wifi import begin, keep

        wlan = begin(row)
    except ImportError:
        edge.note("this firmware has no Wi-Fi")
    except (OSError, ValueError, TypeError, RuntimeError) as e:
        edge.note("Wi-Fi cannot be started: %s" % e)
    else:
        edge.tasks.append(edge.gateway.work(keep(wlan, row, edge.gateway.log)))


def begin(edge):
    """The gateway has opened what it serves: dial out, ask for the time."""
    gateway = edge.gateway
    row = edge.part("dial_out")
    if row:
        from .transports.dial import Dial

        try:
            id = edge.part("board").get("id")
            edge.open_plainly(Dial(gateway, name=edge.name, id=id, **row))
        except (ConfigError, OSError) as e:
            edge.note(e)
    row = edge.part("time")
    if row.get("sntp"):
        from .sntp import keep

        work = keep(gateway.clock, gateway.log, row["sntp"], row.get("every_s", 3600))
        edge.tasks.append(gateway.work(work))
