"""ATTACH and VACUUM INTO, which raise no audit event: every connection gets an authorizer that looks at them.

An audit hook is given a connection before it can have an authorizer. So `sqlite3.Connection` becomes a
subclass of itself, which sets one, and does not let go of it when an application sets its own.
"""

from __future__ import annotations

import sys

from . import places

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

OK, DENY = 0, 1
ATTACH = 24
"""SQLITE_ATTACH; VACUUM INTO asks for it too, with the name that it is going to write to."""


def guard_sqlite(module: Any, refuses: Callable[[str | None], bool]) -> None:
    """Replace `Connection` and `connect` of `sqlite3.dbapi2`, and of `sqlite3` where that is there already.

    `refuses` is called with the file that is to be attached; with None where its name is bound or computed,
    for then SQLite tells nobody what it is.
    """
    authorize = _authorizer(refuses)
    base, connect = module.Connection, module.connect

    class Connection(base):  # type: ignore[misc, valid-type]
        __doc__ = base.__doc__

        def __init__(self, *args: Any, **options: Any) -> None:
            __tracebackhide__ = True
            base.__init__(self, *args, **options)
            base.set_authorizer(self, authorize)

        def set_authorizer(self, authorizer_callback: Callable[..., int] | None) -> None:
            def both(action: int, name: str | None, *rest: object) -> int:
                if action == ATTACH and authorize(action, name) != OK:
                    return DENY
                return authorizer_callback(action, name, *rest)  # type: ignore[misc]

            base.set_authorizer(self, authorize if authorizer_callback is None else both)

    def guarded(*args: Any, **options: Any) -> Any:
        __tracebackhide__ = True
        if len(args) < 6:  # the factory is the sixth
            options.setdefault("factory", Connection)
        connection = connect(*args, **options)
        if isinstance(connection, base) and not isinstance(connection, Connection):
            base.set_authorizer(connection, authorize)  # of a class that was made before
        return connection

    Connection.__module__, Connection.__qualname__ = base.__module__, base.__qualname__
    guarded.__name__ = guarded.__qualname__ = "connect"
    guarded.__doc__, guarded.__wrapped__ = connect.__doc__, connect  # type: ignore[attr-defined]
    package: Any = sys.modules.get("sqlite3")
    for one in (module, package):
        if one is not None and getattr(one, "connect", None) is connect:
            one.Connection, one.connect = Connection, guarded


def _authorizer(refuses: Callable[[str | None], bool]) -> Callable[..., int]:
    def authorize(action: int, name: str | None, *_: object) -> int:
        if action != ATTACH:
            return OK
        if name is None:
            return DENY if refuses(None) else OK
        file = places.file_of(name)
        return DENY if file is not None and refuses(file) else OK

    return authorize
