"""What worker processes need: how many there may be, and an end."""

import multiprocessing
import os
import threading


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def end_with_parent() -> None:
    """Watch, in a thread, for the end of the process that started this one, and end with it."""
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    # A pool's workers outlive a parent that was killed with -9, and wait for ever.
    if parent := multiprocessing.parent_process():
        parent.join()
        os._exit(1)
