"""Signals that ask a run to save and return."""

import os
import signal
import threading

from jaxcell import interrupts, processes

# The same command goes on, which a launcher must not take for the end (EX_TEMPFAIL of sysexits.h; a
# container that leaves with 0 is not started again).
STOPPED = 75


def status():
    """What a process leaves with whose run was stopped: 130 after its Ctrl-C, 75 otherwise."""
    return interrupts.STATUS if interrupts.heard() else STOPPED


class Stopped(KeyboardInterrupt):
    """A run within other work was asked to stop, and has saved: all of that work ends.

    status : what the process leaves with
    """

    def __init__(self, text):
        super().__init__(text)
        self.status = status()


class Stop:
    """Set by SIGTERM (or by Ctrl-C once): the run saves and returns.

    Ctrl-C waits for the next step only while ``saves`` is True, which the run sets: before its
    first step and behind its last one nothing is to be saved, and it interrupts as it does anywhere
    else. Of many processes any one may be asked, and they must stop as one: there it always waits.
    JAX's preemption service then holds SIGTERM (and what else the platform gives notice by) from
    ``jax.distributed.initialize`` on, and picks the step.

    Raises
    ------
    KeyboardInterrupt
        By Ctrl-C, see above; also on entering, when it was pressed before and swallowed.
    """

    def __enter__(self):
        self.saves = self._asked = False
        self._before, self._many = {}, processes.count() > 1
        interrupts.forget()
        mine = (signal.SIGINT,) if self._many else (signal.SIGINT, signal.SIGTERM)
        try:
            if threading.current_thread() is threading.main_thread():
                for s in mine:
                    # Who started it in the background wants no Ctrl-C to reach it.
                    if signal.getsignal(s) is not signal.SIG_IGN:
                        self._before[s] = signal.signal(s, self._ask)
            if interrupts.heard():
                self._ask(signal.SIGINT, None)
        except BaseException:
            self.__exit__()
            raise
        return self

    def _ask(self, number, frame):
        self._asked = True
        waits = self.saves or self._many
        if number == signal.SIGINT:
            interrupts.hear()
            if waits:  # a second Ctrl-C ends at once
                signal.signal(signal.SIGINT, signal.default_int_handler)
            else:
                interrupts.interrupt(number, frame)
        if self._many:
            os.kill(os.getpid(), signal.SIGTERM)  # to the service, for all

    def at(self, step):
        """Whether to stop behind this step: the same on all processes, which all ask at each."""
        if not self._many:
            return self._asked
        from jax.experimental import multihost_utils

        return multihost_utils.reached_preemption_sync_point(step)

    def __exit__(self, *_):
        for s, handler in self._before.items():
            signal.signal(s, handler)
