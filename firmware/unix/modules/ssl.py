# asyncio and users say `ssl`; what it needs of that module is all in the C module `tls`.
from tls import *  # noqa: F403
