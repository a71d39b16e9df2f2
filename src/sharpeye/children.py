"""For programs that SharpEye starts as processes of their own."""

import os
import threading
import time


def end_with_parent() -> None:
    """Do not outlive the process that started this one: a killed one cannot stop its children."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
