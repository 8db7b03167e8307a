"""Where this host can be reached now, and every change of it.

messages: the kernel's words; network: what follows from them; pace: when to speak
of it; watcher: the task, with the only I/O.
"""

from vipnet.system.netwatch.network import Cause, UnderlayAddress
from vipnet.system.netwatch.pace import Underlay
from vipnet.system.netwatch.watcher import watch

__all__ = ["Cause", "Underlay", "UnderlayAddress", "watch"]
