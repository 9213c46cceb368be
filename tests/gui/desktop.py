"""Tools for scripts inside the GUI: Qt's events, mouse, keyboard, screenshots and the exit.

The scripts that the tests start import this module; pytest does not. Mouse and keyboard are those
of the X server (XTest), so the GUI gets the same events as from a user.
"""

import ctypes
import os
import sys
import time
import traceback
from contextlib import contextmanager

LEFT, WHEEL = 1, 4
PROCESS_EVENTS = "_ZN16QCoreApplication13processEventsE6QFlagsIN10QEventLoop17ProcessEventsFlagEE"


def _qt(name, *arguments):
    # PyDLL keeps Python's lock; without it, an observer in Python would end the process
    for library in ("libQt5Core.so.5", "libQt6Core.so.6"):
        try:
            function = getattr(ctypes.PyDLL(library, mode=os.RTLD_NOLOAD | os.RTLD_NOW), name)
            break
        except OSError:
            continue
    function.restype = None
    function(*arguments)


def settle(seconds=0.15):
    """Wait, and let Qt process its events."""
    time.sleep(seconds)
    for _ in range(40):
        flags = ctypes.c_int(0)
        _qt(
            "_ZN16QCoreApplication13processEventsE6QFlagsIN10QEventLoop17ProcessEventsFlagEE", flags
        )


@contextmanager
def session():
    """End the GUI after the block: with code 0, or with 1 and a traceback after an error."""
    code = 1
    try:
        yield
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        _qt("_ZN16QCoreApplication4exitEi", ctypes.c_int(code))


def picture():
    """Return a screenshot."""
    from PIL import ImageGrab

    settle()
    return ImageGrab.grab(xdisplay=os.environ["DISPLAY"]).convert("RGB")


class Desktop:
    """The X server's main window, mouse and keyboard."""

    def __init__(self):
        self._x = ctypes.CDLL("libX11.so.6")
        self._test = ctypes.CDLL("libXtst.so.6")
        self._x.XOpenDisplay.restype = ctypes.c_void_p
        self._x.XStringToKeysym.restype = ctypes.c_ulong
        self._x.XDefaultRootWindow.restype = ctypes.c_ulong
        self._display = ctypes.c_void_p(self._x.XOpenDisplay(None))
        self._window = max(self._windows(), key=self._area)

    def resize(self, width, height):
        """Set the size of the main window, at the upper left corner of the screen."""
        window = ctypes.c_ulong(self._window)
        self._x.XMoveResizeWindow(self._display, window, 0, 0, width, height)
        self._x.XFlush(self._display)
        settle(0.5)
        settle()

    def press(self, key):
        """Press a key at the place of the mouse."""
        self._x.XSetInputFocus(self._display, ctypes.c_ulong(self._window), 1, ctypes.c_ulong(0))
        symbol = ctypes.c_ulong(self._x.XStringToKeysym(key.encode()))
        code = self._x.XKeysymToKeycode(self._display, symbol)
        for down in (1, 0):
            self._test.XTestFakeKeyEvent(self._display, code, down, ctypes.c_ulong(0))
            self._x.XFlush(self._display)
            settle()

    def drag(self, start, end):
        """Drag from one place on the screen to another with the left button."""
        middle = tuple((a + b) // 2 for a, b in zip(start, end))
        self.move(*start)
        self._button(1)
        self.move(*middle)
        self.move(*end)
        self._button(0)
        settle(0.3)

    def click(self, place):
        """Click at a place on the screen."""
        self.move(*place)
        self._button(1)
        self._button(0)

    def turn_wheel(self, place):
        """Turn the wheel by one step, which zooms in."""
        self.move(*place)
        for down in (1, 0):
            self._button(down, WHEEL)

    def move(self, x, y):
        """Move the mouse."""
        self._test.XTestFakeMotionEvent(self._display, -1, x, y, ctypes.c_ulong(0))
        self._x.XFlush(self._display)
        settle()

    def _button(self, down, which=LEFT):
        self._test.XTestFakeButtonEvent(self._display, which, down, ctypes.c_ulong(0))
        self._x.XFlush(self._display)
        settle()

    def _windows(self):
        root = ctypes.c_ulong(self._x.XDefaultRootWindow(self._display))
        ignored = ctypes.c_ulong()
        children, count = ctypes.POINTER(ctypes.c_ulong)(), ctypes.c_uint()
        self._x.XQueryTree(
            self._display,
            root,
            ctypes.byref(ignored),
            ctypes.byref(ignored),
            ctypes.byref(children),
            ctypes.byref(count),
        )
        return [children[i] for i in range(count.value)]

    def _area(self, window):
        root, values = ctypes.c_ulong(), [ctypes.c_uint() for _ in range(6)]
        self._x.XGetGeometry(
            self._display,
            ctypes.c_ulong(window),
            ctypes.byref(root),
            *(ctypes.byref(value) for value in values),
        )
        return values[2].value * values[3].value
