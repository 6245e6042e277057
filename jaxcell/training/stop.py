"""Signals that ask a run to save and return."""

import signal
import threading


class Stop:
    """Set by SIGTERM (or by Ctrl-C once): the run saves and returns."""

    def __enter__(self):
        self.asked, self._before = False, {}
        if threading.current_thread() is threading.main_thread():
            for s in (signal.SIGTERM, signal.SIGINT):
                self._before[s] = signal.signal(s, self._ask)
        return self

    def _ask(self, number, frame):
        self.asked = True
        # A second Ctrl-C ends at once.
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def __exit__(self, *_):
        for s, handler in self._before.items():
            signal.signal(s, handler)
