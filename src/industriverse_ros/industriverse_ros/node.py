"""The one base of every node: lifecycle, parameters, clocks, timers, diagnostics, long services, and `run`.

A node's own `node.py` converts, calls and publishes; everything it would otherwise repeat is here.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import Clock, ClockType
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.experimental.events_executor import EventsExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.signals import SignalHandlerOptions

from industriverse_core.errors import CoreError, ErrorCode, ProfileError
from industriverse_core.store import CellPaths
from industriverse_ros import names, params, qos

REALTIME_PRIORITY = 10
ACTIVATION_POLL_S = 0.1
DIAGNOSTICS_PERIOD_S = 1.0
EXIT_BAD_INPUT = 2
SHUTDOWN_S = 3.0


class CellNode(LifecycleNode):
    """Base of all nodes. INACTIVE = connected, observing; ACTIVE = may influence the cell.

    A subclass sets `Params` and overrides `setup` (create what the node has), `ready` (may it become
    active?), `start`, `stop` and `health`. CoreErrors in these fail the transition with one log line; any
    other exception ends the process.
    """

    Params: ClassVar[type]
    realtime: ClassVar[bool] = False  # ask for SCHED_FIFO

    def __init__(self, name: str, **options: Any) -> None:
        super().__init__(name, **options)
        self.params = params.declare(self, self.Params)
        self.incarnation = time.time_ns()
        self.has_realtime = self.realtime and os.sched_getscheduler(0) == os.SCHED_FIFO
        self.failure: BaseException | None = None  # why the process has to end
        self.active = False
        self.was_active = False
        self._steady_clock = Clock(clock_type=ClockType.STEADY_TIME)
        self._long_node: rclpy.node.Node | None = None
        self._long_thread: threading.Thread | None = None
        self._diagnostics = self.create_publisher(DiagnosticArray, names.DIAGNOSTICS, qos.EVENT)
        self.steady_timer(DIAGNOSTICS_PERIOD_S, self._publish_diagnostics)

    # --- what a node overrides ---

    def setup(self) -> None:
        """Create publishers, subscriptions, services; connect. Called once, on configure."""

    def ready(self) -> bool:
        """True when the node may become active (polled at 10 Hz while inactive)."""
        return True

    def start(self) -> None:
        """Begin to influence the cell. Called on activate."""

    def stop(self) -> None:
        """Stop influencing the cell. Called on deactivate and before the process ends."""

    def close(self) -> None:
        """Release what `setup` opened. Called before the process ends."""

    def health(self) -> tuple[bytes, str, dict[str, object]]:
        """Diagnostic level, one sentence, and values."""
        return DiagnosticStatus.OK, "active" if self.active else "inactive", {}

    def cell_paths(self) -> CellPaths:
        """The cell's data folder. Raises ProfileError when the parameter `cell_dir` is empty."""
        if not self.params.cell_dir:
            raise ProfileError(
                ErrorCode.BAD_PARAMETER, f"{self.get_name()}: parameter 'cell_dir' is empty.", "Name the cell's folder."
            )
        return CellPaths(Path(self.params.cell_dir))

    # --- clocks and timers ---

    def now_s(self) -> float:
        """ROS time [s]: physics. Follows /clock in simulation."""
        return self.get_clock().now().nanoseconds * 1e-9

    @staticmethod
    def steady_s() -> float:
        """Steady time [s]: safety. Never jumps, never sped up."""
        return time.monotonic()

    def steady_timer(self, period_s: float, callback: Callable[[], None]) -> rclpy.timer.Timer:
        """A timer on the steady clock."""
        return self.create_timer(period_s, callback, clock=self._steady_clock)

    def post(self, callback: Callable[..., None], *arguments: Any) -> None:
        """Run a callback in the executor's thread; safe to call from any thread."""
        executor = self.executor
        if executor is not None:
            executor.create_task(self._guarded, callback, *arguments)

    def _guarded(self, callback: Callable[..., None], *arguments: Any) -> None:
        try:
            callback(*arguments)
        except Exception as error:  # noqa: BLE001 - tasks swallow exceptions; a bug must end the process
            self.failure = error

    # --- long services ---

    def create_long_service(self, kind: Any, name: str, callback: Callable[[Any, Any], Any]) -> None:
        """A service whose callback may take seconds. It runs in a worker thread, one request at a time, so
        timers and subscriptions of the node go on. CoreErrors fill error_code and error_msg of the answer."""
        if self._long_node is None:
            options = {"namespace": self.get_namespace(), "use_global_arguments": False}
            self._long_node = rclpy.create_node(f"{self.get_name()}_services", context=self.context, **options)
            self._long_thread = threading.Thread(target=self._spin_long_services, name="long services", daemon=True)
            self._long_thread.start()
        self._long_node.create_service(kind, name, refusing(callback))

    def _spin_long_services(self) -> None:
        release_realtime()
        executor = SingleThreadedExecutor(context=self.context)
        executor.add_node(self._long_node)
        try:
            executor.spin()
        except ExternalShutdownException:
            pass
        except Exception as error:  # noqa: BLE001 - a bug in a worker thread must end the process too
            self.failure = error

    def create_quick_service(self, kind: Any, name: str, callback: Callable[[Any, Any], Any]) -> None:
        """A service answered at once in the executor's thread. CoreErrors fill error_code and error_msg."""
        self.create_service(kind, name, refusing(callback))

    # --- lifecycle ---

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Lifecycle hook; see `setup`."""
        return self._transition(self.setup)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Lifecycle hook; see `start`."""
        super().on_activate(state)
        result = self._transition(self.start)
        self.active = result is TransitionCallbackReturn.SUCCESS
        self.was_active = self.was_active or self.active
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Lifecycle hook; see `stop`."""
        self.active = False
        super().on_deactivate(state)
        return self._transition(self.stop)

    def _transition(self, hook: Callable[[], None]) -> TransitionCallbackReturn:
        """rclpy swallows exceptions inside lifecycle hooks: keep them, `run` ends the process."""
        try:
            hook()
        except Exception as error:  # noqa: BLE001
            self.failure = error
            return TransitionCallbackReturn.FAILURE
        return TransitionCallbackReturn.SUCCESS

    def _autostart(self) -> None:
        """Configure, then activate as soon as `ready` says so."""
        self.trigger_configure()
        if self.failure is not None:
            return

        done = False

        def poll() -> None:
            nonlocal done
            if done or not self.ready():  # on a busy computer, calls of a destroyed timer can still be on their way
                return
            done = True
            self.destroy_timer(timer)
            self.trigger_activate()

        timer = self.steady_timer(ACTIVATION_POLL_S, poll)

    def _publish_diagnostics(self) -> None:
        level, message, values = self.health()
        status = DiagnosticStatus(level=level, name=self.get_fully_qualified_name(), message=message)
        status.values = [KeyValue(key=key, value=str(value)) for key, value in values.items()]
        array = DiagnosticArray(status=[status])
        array.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(array)


def refusing(callback: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Wrap a service callback: a CoreError becomes error_code and error_msg of the answer."""

    def answer(request: Any, response: Any) -> Any:
        try:
            return callback(request, response) or response
        except CoreError as error:
            response.error_code = int(error.code)
            response.error_msg = str(error)
            return response

    return answer


def request_realtime() -> bool:
    """Ask the system for SCHED_FIFO for the calling thread. False where it is not allowed."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(REALTIME_PRIORITY))
    except (OSError, AttributeError):
        return False
    return True


def release_realtime() -> None:
    """Back to the normal scheduler, for a worker thread that inherited real-time priority."""
    try:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    except (OSError, AttributeError):
        pass


def run(kind: type[CellNode]) -> None:
    """Main function of every node: start it, spin until the process is told to end, exit with a status.

    0 = told to end; 2 = bad input at the start (one line on standard error); 1 = a bug (traceback), or an error
    that came up later.
    """
    if kind.realtime:
        request_realtime()  # before DDS starts its threads, which inherit it
    told_to_end = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: told_to_end.set())
    # rclpy's own handlers would end the context at once, and `stop` could tell nobody
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    node: CellNode | None = None
    status = 0
    try:
        node = kind()
        executor = EventsExecutor()  # `spin` delivers nothing in the wheels, a loop of spin_once does
        executor.add_node(node)
        node._autostart()  # noqa: SLF001
        while node.failure is None and not told_to_end.is_set():
            executor.spin_once(timeout_sec=0.5)
        if node.failure is not None:
            raise node.failure
    except CoreError as error:
        print(f"{kind.__module__.split('.')[0]}: [{ErrorCode(error.code).name}] {error}", file=sys.stderr, flush=True)
        # once active, a CoreError that nobody has handled is a failure to recover from, not a wrong start
        status = 1 if node is not None and node.was_active else EXIT_BAD_INPUT
    finally:
        if node is not None:
            _shut_down(node)
        rclpy.try_shutdown()
        if node is not None and node._long_thread is not None:  # noqa: SLF001
            node._long_thread.join(SHUTDOWN_S)  # noqa: SLF001 - a thread inside rcl at exit would abort the process
    sys.exit(status)


def _shut_down(node: CellNode) -> None:
    try:
        if node.active:
            node.active = False
            node.stop()
        node.close()
    except CoreError as error:
        print(f"{node.get_name()}: while ending: {error}", file=sys.stderr, flush=True)


__all__ = ["CellNode", "refusing", "release_realtime", "request_realtime", "run"]
