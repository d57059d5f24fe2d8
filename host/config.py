# SPDX-License-Identifier: GPL-2.0-or-later
"""The project's configuration: every setting, its default and where it may be changed.

INI files, found as openSUSE's libeconf and the UAPI group's configuration files specification find them: the
first of /etc/zypp-livepatch.conf, /run/… and /usr/etc/… (the vendor's), then every ``*.conf`` of the
directories /usr/etc/zypp-livepatch.conf.d, /run/… and /etc/… in the order of their names, where a file in
/etc hides one of the same name in /run or /usr/etc. Later files change single settings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace
from pathlib import Path

from host.errors import Error, ExitStatus

NAME = "zypp-livepatch.conf"
DIRECTORIES = ("etc", "run", "usr/etc")  # strongest first
LONGEST_WAIT = 25.0  # seconds; libzypp gives up on a plugin after 30


class ConfigError(Error):
    """A configuration file says what it cannot say."""

    status = ExitStatus.BAD_CONFIG


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """All settings, with their defaults."""

    # [plugin]
    enabled: bool = True  # whether a commit of zypper patches anything
    wait: float = 20.0  # seconds that zypper is held until the result is there; then the work goes on alone
    terminal: bool = True  # whether the person at zypper's terminal gets one line
    # [patch]
    process_one: bool = False  # whether process 1 is patched
    consistency: str = "default"  # or "strict"
    tries: int = 100  # stops that may find a thread inside of a function, per process
    timeout: float = 30.0  # seconds, per process
    # [trust]
    signature: bool = False  # whether a package's signature must hold for its live patches to be applied
    # [kernel]
    transition: float = (
        90.0  # seconds that the report waits for a kernel live patch to be in effect everywhere
    )
    # [lifecycle]
    warn_days: int = 30  # a live patch that is not maintained for longer is warned of
    # [report]
    keep: int = 20  # reports


_SECTIONS: dict[str, tuple[str, ...]] = {
    "plugin": ("enabled", "wait", "terminal"),
    "patch": ("process-one", "consistency", "tries", "timeout"),
    "trust": ("signature",),
    "kernel": ("transition",),
    "lifecycle": ("warn-days",),
    "report": ("keep",),
}


def load(*, root: str = "/") -> Config:
    """Read the configuration under a root; raises ConfigError for the first thing that is wrong."""
    config = Config()
    for path in files(NAME, root=root):
        config = _merge(config, path)
    return config


def files(name: str, *, root: str = "/") -> Iterable[Path]:
    """Yield the files under a root that make up the configuration ``name`` (``zypp/zypp.conf``), strongest last."""
    places = [Path(root, directory, name) for directory in DIRECTORIES]
    yield from list(filter(Path.is_file, places))[:1]
    extra: dict[str, Path] = {}
    for place in places:
        for path in place.with_name(f"{place.name}.d").glob("*.conf"):
            extra.setdefault(path.name, path)
    for _, path in sorted(extra.items()):
        if path.is_file():  # a link to /dev/null is how an administrator hides a vendor's file
            yield path


def _merge(config: Config, path: Path) -> Config:
    import configparser

    parser = configparser.ConfigParser(interpolation=None, default_section="", strict=True)
    try:
        parser.read_string(path.read_text(), source=str(path))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8") from error
    except configparser.Error as error:
        raise ConfigError(f"{path} is not an INI file: {' '.join(str(error).split())}") from error
    changes: dict[str, object] = {}
    for section in parser.sections():
        known = _SECTIONS.get(section)
        if known is None:
            raise ConfigError(
                f"{path}: there is no section [{section}]", hint=f"there are {_list(_SECTIONS)}"
            )
        for key, text in parser.items(section):
            if key not in known:
                raise ConfigError(f"{path}: [{section}] has no setting {key}", hint=f"it has {_list(known)}")
            name = key.replace("-", "_")
            try:
                changes[name] = _convert(name, text.strip())
            except ValueError as error:
                raise ConfigError(
                    f"{path}: [{section}] {key} is {text!r}, but it takes {error}",
                    hint="correct it or delete the line",
                ) from error
    return replace(config, **changes)  # type: ignore[arg-type]  # _convert keeps the fields' types


def _convert(name: str, text: str) -> object:
    kind = next(field.type for field in fields(Config) if field.name == name)
    low, high = _RANGES.get(name, (0, 10**6))
    if kind == "bool":
        return _boolean(text)
    if kind in ("int", "float"):
        return _number(text, float if kind == "float" else int, low, high)
    if text not in ("default", "strict"):
        raise ValueError("default or strict")
    return text


_RANGES: dict[str, tuple[int, float]] = {
    "wait": (0, LONGEST_WAIT),
    "tries": (1, 10_000),
    "timeout": (1, 3600),
    "transition": (0, 3600),
    "warn_days": (0, 3650),
    "keep": (1, 1000),
}


def _number(text: str, kind: Callable[[str], float], low: float, high: float) -> float:
    what = f"a{' whole' if kind is int else ''} number from {low:g} to {high:g}"
    try:
        value = kind(text)
    except ValueError as error:
        raise ValueError(what) from error
    if not low <= value <= high:
        raise ValueError(what)
    return value


def _boolean(text: str) -> bool:
    if text.lower() in ("yes", "true", "on", "1"):
        return True
    if text.lower() in ("no", "false", "off", "0"):
        return False
    raise ValueError("yes or no")


def _list(names: Iterable[str]) -> str:
    return ", ".join(names)
