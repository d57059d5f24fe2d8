# SPDX-License-Identifier: GPL-2.0-or-later
"""From a description to a container: names become addresses, a shared object gets its ``.ulp`` sections."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from host.errors import BadDataError, Error
from host.files import read_regular, replace_file
from ulp import elf_constants as c
from ulp.container import SIZE_LIMIT, Container, parse, verify
from ulp.container_format import (
    BUILD_ID_SIZE,
    COMMENTS_SECTION,
    PATCH_ID_SIZE,
    REVERT_SECTION,
    SECTION,
    Metadata,
    Reference,
    Unit,
    encode_apply,
    encode_comments,
    encode_revert,
)
from ulp.description import Description, DescriptionError, Diagnostic, Function, Variable, Word
from ulp.elf import Elf, Symbol
from ulp.library import Library, SymbolError, from_elf, read_library
from ulp.md4 import md4
from ulp.section_writer import with_sections

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    T = TypeVar("T")


def pack(description: Description, *, container: str = "", target: str = "") -> Container:
    """Turn the shared object of a description into a live patch container, in place and at once.

    ``container`` and ``target`` stand in for the paths in the description. Raises DescriptionError for what
    the description says wrongly and Error where the file cannot be replaced; then it is as it was.
    """
    resolver = _Resolver(description)
    path = container or description.container.text
    image = resolver.attempt(description.container, lambda: read_regular(path, limit=SIZE_LIMIT))
    aim = resolver.attempt(description.target, lambda: read_library(target or description.target.text))
    if image is None or aim is None:
        raise resolver.error()
    patch = resolver.attempt(description.container, lambda: _patch_library(image, path))
    if patch is None:
        raise resolver.error()
    metadata = resolver.metadata(patch, aim)
    sections = {SECTION: encode_apply(metadata), REVERT_SECTION: encode_revert(metadata)}
    if metadata.comments or Elf(image, name=path).section(COMMENTS_SECTION):
        sections[COMMENTS_SECTION] = encode_comments(metadata)
    packed = parse(with_sections(image, sections, name=path), path=path)
    verify(packed)
    replace_file(path, packed.image)
    return packed


def patch_id(build_id: bytes, description: bytes) -> bytes:
    """The 32 bytes that name a live patch: of its own build-id the first 16, and MD4 of its description."""
    half = PATCH_ID_SIZE // 2
    return build_id[:half].ljust(half, b"\0") + md4(description)


def _patch_library(image: bytes, path: str) -> Library:
    elf = Elf(image, name=path)
    if elf.type != c.ET_DYN:
        elf.refuse("not a shared object")
    if not elf.build_id():
        raise BadDataError(f"{path}: it has no build-id", hint="Link it with -Wl,--build-id=sha1.")
    return from_elf(elf)


class _Resolver:
    """Finds what the words of a description mean, and collects those that mean nothing."""

    def __init__(self, description: Description) -> None:
        self.description = description
        self.mistakes: list[Diagnostic] = []

    def mistake(self, word: Word, message: str) -> None:
        self.mistakes.append(Diagnostic(path=self.description.path, word=word, message=message))

    def attempt(self, word: Word, action: Callable[[], T]) -> T | None:
        """Do something that a word of the description asks for."""
        try:
            return action()
        except SymbolError as error:
            self.mistake(word, str(error))
        except Error as error:
            self.mistake(word, error.sentence)
        return None

    def error(self) -> DescriptionError:
        return DescriptionError(tuple(self.mistakes))

    def metadata(self, patch: Library, target: Library) -> Metadata:
        """Everything resolved; raises DescriptionError with all mistakes."""
        description = self.description
        if len(target.build_id) != BUILD_ID_SIZE:
            self.mistake(
                description.target,
                f"the build-id of {target.path} has {len(target.build_id)} instead of {BUILD_ID_SIZE} bytes",
            )
        if not target.name or not target.name.isprintable() or "/" in target.name:
            self.mistake(description.target, f"{target.path} has a name that no container can hold")
        if target.machine not in {None, patch.machine}:
            self.mistake(description.target, f"{target.path} and {patch.path} are for different machines")
        units = [self.unit(function, patch, target) for function in description.functions]
        # Newest first, as libpulp writes them.
        references = [
            self.reference(variable, patch, target) for variable in reversed(description.variables)
        ]
        dependencies = [
            self.attempt(word, partial(_dependency, word.text)) for word in description.dependencies
        ]
        if self.mistakes:
            raise self.error()
        return Metadata(
            patch_id=patch_id(patch.build_id, description.data),
            build_id=target.build_id,
            target_name=target.name,
            units=tuple(filter(None, units)),
            references=tuple(filter(None, references)),
            dependencies=tuple(filter(None, dependencies)),
            comments=description.comments,
        )

    def unit(self, function: Function, patch: Library, target: Library) -> Unit | None:
        old = self.function(function.old, target)
        new = self.function(function.new, patch)
        if old is None or new is None:
            return None
        return Unit(old_name=function.old.text, new_name=function.new.text, old_address=old.value)

    def function(self, word: Word, library: Library) -> Symbol | None:
        symbol = self.attempt(word, lambda: library.symbol(word.text))
        if symbol is not None and symbol.type == c.STT_GNU_IFUNC:
            self.mistake(
                word, f"{word.text} is a choice of functions (IFUNC) in {library.path}; name one of them"
            )
        elif symbol is not None and symbol.type not in {c.STT_FUNC, c.STT_NOTYPE}:
            self.mistake(word, f"{word.text} is not a function in {library.path}")
        return symbol

    def reference(self, variable: Variable, patch: Library, target: Library) -> Reference | None:
        offsets = variable.offsets
        if offsets is None:
            aim = self.attempt(variable.target, lambda: target.symbol(variable.target.text))
            place = self.attempt(variable.patch, lambda: patch.symbol(variable.patch.text))
            if aim is None or place is None:
                return None
            if (aim.type == c.STT_TLS) != variable.tls:
                kind = "not thread-local" if variable.tls else "thread-local, so its line begins with '#%'"
                self.mistake(variable.target, f"{variable.target.text} is {kind} in {target.path}")
            if place.type == c.STT_TLS:
                self.mistake(variable.patch, f"{variable.patch.text} is thread-local in {patch.path}")
            offsets = aim.value, place.value
        return Reference(
            target_name=variable.target.text,
            patch_name=variable.patch.text,
            target_offset=offsets[0],
            patch_offset=offsets[1],
            tls=variable.tls,
        )


def _dependency(path: str) -> bytes:
    """The patch id in a container or in a file of libpulp's former format: a type byte, then the id."""
    data = read_regular(path, limit=SIZE_LIMIT)
    if data[:4] == b"\x7fELF":
        return parse(data, path=path).patch_id
    if len(data) < 1 + PATCH_ID_SIZE:
        raise BadDataError(f"{path}: too short for the metadata of a live patch")
    return data[1 : 1 + PATCH_ID_SIZE]
