"""Papermill that ends, with its kernel, when the process that started it has ended, by whatever end."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

GRACE_S = 10
END_S = 20.0  # that a kernel has to end, half of it by itself: it writes down then which modules it loaded


def _follow(parent: int) -> None:
    """End this process once it has another parent."""
    while os.getppid() == parent:
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGTERM)  # the executor then ends its kernel
    time.sleep(GRACE_S)
    os._exit(1)  # the kernel sees it within a second


if __name__ == "__main__":
    threading.Thread(target=_follow, args=(int(os.environ.pop("PRECISE_PARENT")),), daemon=True).start()

    # a check of addresses that no notebook needs: importing it builds a grammar, for longer than all else here
    sys.modules["rfc3987_syntax"] = None
    from jupyter_client import KernelManager
    from papermill.__main__ import papermill

    KernelManager.shutdown_wait_time.default_value = END_S  # 5 s are too few on a busy machine
    papermill()
