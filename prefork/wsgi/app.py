"""`module:name` -> the application, or an AppLoadError that says what failed and what was probably meant.

A target is `module`, which means `module:application`, or a module, a colon and a name, a dotted name, or a
call of one with literal arguments: `shop.app:create_app("production", debug=False)`. Nothing else of it is
ever evaluated. What helps when something failed stands in nearmiss.py, so that a start does not pay for it.
"""

# ruff: noqa: PTH113  (pathlib would cost every start 4 ms)

from __future__ import annotations

import os
import sys

from ..errors import AppLoadError

TYPE_CHECKING = False  # typing costs every start 3 ms
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

DEFAULT = "application"

_VARIADIC, _COROUTINE = 0x04, 0x80  # inspect.CO_VARARGS, CO_COROUTINE


class Target:
    """A target taken apart.

    expression: what stands behind the colon.  names: attributes to follow, from the module on.
    call: whether what they lead to is called, with arguments and keywords, to get the application.
    """

    __slots__ = ("arguments", "call", "expression", "keywords", "module", "names", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        module, colon, expression = text.partition(":")
        self.module = module.strip()
        self.expression = expression.strip()
        self.names: list[str] = [DEFAULT]
        self.call = False
        self.arguments: list[Any] = []
        self.keywords: dict[str, Any] = {}
        if not self.module or (colon and not self.expression):
            raise AppLoadError(f"{text!r} names no application: that has the form module:name")
        if self.expression:
            self._read(self.expression)

    def _read(self, expression: str) -> None:
        if all(name.isidentifier() for name in expression.split(".")):
            self.names = expression.split(".")
            return
        import ast

        try:
            node = ast.parse(expression, mode="eval").body
            if isinstance(node, ast.Call):
                self.call = True
                self.arguments = [ast.literal_eval(each) for each in node.args]
                self.keywords = {str(each.arg): ast.literal_eval(each.value) for each in node.keywords}
                if any(each.arg is None for each in node.keywords):
                    raise ValueError("**")
                node = node.func
            self.names = _dotted(node)
        except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
            raise AppLoadError(
                f"{self.text!r}: {expression!r} is neither a name, nor a dotted name, nor a call of one with "
                "literal arguments"
            ) from None

    @property
    def name(self) -> str:
        """module:names, as messages have it."""
        return f"{self.module}:{'.'.join(self.names)}"


def _dotted(node: Any) -> list[str]:
    import ast

    if isinstance(node, ast.Name):
        return [node.id]
    if isinstance(node, ast.Attribute):
        return [*_dotted(node.value), node.attr]
    raise ValueError(node)


def load(target: str, *, factory: bool = False) -> Callable[..., Any]:
    """Import the target's module and return its application; with `factory` the name is called to get it.

    The working directory and --pythonpath are on sys.path already. Raises AppLoadError, whatever the
    application raises; KeyboardInterrupt only where it may be a Ctrl-C.
    """
    wanted = Target(target)
    module = _import(wanted)
    found = _follow(wanted, module)
    if wanted.call or factory:
        found = _call(wanted, found)
    return _checked(wanted, module, found, made=wanted.call or factory)


def _import(wanted: Target) -> Any:
    if os.sep in wanted.module or (wanted.module.endswith(".py") and os.path.isfile(wanted.module)):
        from . import nearmiss

        raise AppLoadError(nearmiss.path_given(wanted))
    try:
        __import__(wanted.module)
    except BaseException as fault:
        _let_pass(fault)
        from . import nearmiss

        raise AppLoadError(nearmiss.import_failed(wanted, fault), nearmiss.traceback_text(fault)) from fault
    return sys.modules[wanted.module]


def _let_pass(fault: BaseException) -> None:
    """Raise it again if it is a Ctrl-C, no doing of the application. Workers have no handler that could make
    one: SIGINT ends them until they serve."""
    if isinstance(fault, KeyboardInterrupt):
        import signal

        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            raise fault


def _follow(wanted: Target, module: Any) -> Any:
    found = module
    for depth, name in enumerate(wanted.names):
        try:
            found = getattr(found, name)
        except AttributeError as fault:
            from . import nearmiss

            message = nearmiss.attribute_missing(wanted, module, found, depth)
            raise AppLoadError(message, nearmiss.traceback_text(fault)) from fault
        except BaseException as fault:  # a property, or a module's __getattr__
            _let_pass(fault)
            from . import nearmiss

            message = f"{wanted.name}: looking up {name!r} failed: {nearmiss.in_words(fault)}"
            raise AppLoadError(message, nearmiss.traceback_text(fault)) from fault
    return found


def _call(wanted: Target, factory: Any) -> Any:
    if not callable(factory):
        raise AppLoadError(
            f"{wanted.name} is {_kind(factory)}, which cannot be called to make an application"
        )
    try:
        return factory(*wanted.arguments, **wanted.keywords)
    except BaseException as fault:
        _let_pass(fault)
        from . import nearmiss

        message = f"calling {wanted.name} for the application failed: {nearmiss.in_words(fault)}"
        raise AppLoadError(message, nearmiss.traceback_text(fault)) from fault


def _checked(wanted: Target, module: Any, found: Any, *, made: bool) -> Callable[..., Any]:
    problem = _unfit(found)
    if not problem:
        return found  # type: ignore[no-any-return]
    from . import nearmiss

    subject = f"what {wanted.name} made" if made else wanted.name
    hint = "" if made else nearmiss.instead(wanted, module, found)
    raise AppLoadError(f"{subject} ({nearmiss.origin(module)}) {problem}: no WSGI application{hint}")


def _unfit(found: Any) -> str:
    """Why a call with environ and start_response must fail; "" where it need not."""
    if not callable(found):
        return f"is {_kind(found)}, which cannot be called"
    code, bound, defaults = _signature(found)
    if code is None:
        return ""
    if code.co_flags & _COROUTINE:
        return f"is {_kind(found)} with an async call, as ASGI has it"
    most = code.co_argcount - bound
    if most < 2 and not code.co_flags & _VARIADIC:
        return f"is {_kind(found)} that takes {most or 'no'} argument{'s' * (most != 1)}"
    if most - defaults > 2:
        return f"is {_kind(found)} that needs {most - defaults} arguments"
    return ""


def _signature(found: Any) -> tuple[Any, int, int]:
    """(code that a call runs, or None where nobody can tell; arguments already bound; those with defaults)"""
    if isinstance(found, type):
        return None, 0, 0
    function, bound = found, 0
    if not hasattr(found, "__code__"):
        function, bound = type(found).__call__, 1
    if hasattr(function, "__func__"):
        function, bound = function.__func__, 1
    return getattr(function, "__code__", None), bound, len(getattr(function, "__defaults__", None) or ())


def _kind(found: Any) -> str:
    """ "a dict", "the module shop.views", "a function"."""
    if isinstance(found, type(sys)):
        return f"the module {found.__name__}"
    if found is None:
        return "None"
    if isinstance(found, type):
        return f"the class {found.__qualname__}"
    kind = type(found)
    home = "" if kind.__module__ in ("builtins", "__main__") else f"{kind.__module__}."
    name = f"{home}{kind.__qualname__}"
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"
