"""Frozen dataclasses that a device imports quickly.

``dataclasses`` writes and compiles six methods for each frozen class, anew at every start: for the
classes of this package that takes longer than importing Pillow. Here one is compiled, ``__init__``;
the other five are the same for all classes.
"""

import dataclasses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass  # noqa: PLC0414 - what it is to type checkers
else:

    def dataclass(*, frozen):
        """As ``dataclasses.dataclass(frozen=True)``."""
        assert frozen, "what may change takes dataclasses.dataclass"

        def decorate(cls):
            cls = dataclasses.dataclass(repr=False, eq=False)(cls)
            for name, method in _SHARED.items():
                if name not in vars(cls):
                    setattr(cls, name, method)
            return cls

        return decorate

    class _Frozen:
        def __setattr__(self, name, value):
            if name in self.__dict__ or name not in self.__dataclass_fields__:
                raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")
            self.__dict__[name] = value

        def __delattr__(self, name):
            raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")

        def __eq__(self, other):
            if other.__class__ is not self.__class__:
                return NotImplemented
            return _values(self) == _values(other)

        def __hash__(self):
            return hash(_values(self))

        def __repr__(self):
            pairs = zip(self.__dataclass_fields__, _values(self), strict=True)
            shown = ", ".join(f"{name}={value!r}" for name, value in pairs)
            return f"{type(self).__qualname__}({shown})"

    def _values(record):
        return tuple(getattr(record, name) for name in record.__dataclass_fields__)

    _SHARED = {name: method for name, method in vars(_Frozen).items() if callable(method)}
