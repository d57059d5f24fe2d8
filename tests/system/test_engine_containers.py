# SPDX-License-Identifier: GPL-2.0-or-later
"""What the code in a container may use, and what is refused with its name before anything changes."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.livepatches import (
    ALREADY,
    NEW,
    OLD,
    REVERTED,
    SUCCESS,
    live_patch,
    ten_functions,
    trigger,
)
from tests.support.targets import Target, answers_library, caller, compiled, running

CALLS = ["bump", "read_secret", "use_private", "read_local", "set_local", "read_shared_local", "feature"]
FEATURE = CALLS.index("feature")


def features_library(*flags: str) -> Path:
    """The library with private parts (programs/features.c); it keeps its symbol table."""
    return compiled(
        "features.c",
        "-fPIC",
        "-shared",
        "-Wl,-soname,libfeatures.so.1,--build-id",
        *flags,
        name="libfeatures.so.1",
    )


def features_caller(*flags: str) -> Path:
    """A program that calls all of it."""
    return caller(features_library(*flags), calls=CALLS, name="features-caller")


def change(
    target: Target, source: str, function: str = "feature", *, references: Sequence[str] = ()
) -> Path:
    """Let ``function`` be replaced by ``replacement`` of the source."""
    container = live_patch(
        features_library(),
        source,
        {function: "replacement"},
        references=references,
        name="features_livepatch1.so",
    )
    said = trigger(target, container)
    assert said.verdict == SUCCESS, said
    return container


@pytest.mark.parametrize("flags", [(), ("-ftls-model=local-dynamic",), ("-mtls-dialect=gnu2",)], ids=str)
def test_private_and_thread_local_variables(flags: tuple[str, ...]) -> None:
    source = """
    long *secret;
    long (*private_sum)(long, long);
    struct { unsigned long module, offset; } local, other;
    extern void *__tls_get_addr(void *);
    long replacement(void);
    long replacement(void) {
        *secret += 1000;
        *(long *)__tls_get_addr(&local) += 100;
        return private_sum(*(long *)__tls_get_addr(&local), *(long *)__tls_get_addr(&other));
    }
    """
    references = ["secret:secret", "private_sum:private_sum", "%local:local", "%shared_local:other"]
    container = live_patch(
        features_library(*flags),
        source,
        {"use_private": "replacement"},
        references=references,
        name="private1.so",
    )
    with running(features_caller(*flags)) as target:
        assert target.answers(7)[2:4] == (3, 70)
        said = trigger(target, container)
        assert said.verdict == SUCCESS, said
        bump, secret, private, local, fresh, shared, _ = target.answers(7)
        assert bump > 1000 and secret > 1000  # old and new code change the same variable
        assert (local, fresh, shared) == (70 + 100, 70, 9)
        assert private == 70 + 100 + 9
        assert trigger(target, "--revert", container).verdict == REVERTED
        assert target.answers(7)[2:4] == (3, 70)


FEATURES = {
    "errno": (
        "#include <errno.h>\n#include <unistd.h>\n"
        "long replacement(void) { errno = 0; close(-1); return errno; }",
        9,
    ),
    "ifunc": (
        """
        #include <string.h>
        char text[64], other[64];
        long replacement(void) {
            volatile size_t n = 9;
            memcpy(text, "live patch", n);
            memset(other, 'x', n);
            memmove(other + 1, text, n);
            text[n] = 0;
            return (long)strlen(text) * 100 + (strchr(text, ' ') - text) * 10 + !memcmp(other + 1, text, n);
        }
        """,
        941,
    ),
    "ifunc-pointer": (
        """
        #include <string.h>
        static size_t (*const measure[])(const char *) = {strlen, strlen};
        static void *(*volatile fill)(void *, int, size_t) = memset;
        static char text[16];
        long replacement(void) { volatile int n = 1; fill(text, 'a', 5); return (long)measure[n](text); }
        """,
        5,
    ),
    "versioned": (
        """
        #include <errno.h>
        #include <stdlib.h>
        extern char *old_realpath(const char *, char *);
        __asm__(".symver old_realpath,realpath@GLIBC_2.2.5");
        long replacement(void) {
            char *fresh = realpath("/", NULL); /* the version since 2.3 allocates */
            long result = fresh != NULL;
            free(fresh);
            errno = 0;
            /* the first version gives EINVAL */
            return result * 1000 + (old_realpath("/", NULL) == NULL) * 100 + errno;
        }
        """,
        1122,
    ),
    "format": (
        """
        #include <stdio.h>
        #include <stdlib.h>
        long replacement(void) {
            char *text = malloc(100);
            int length = snprintf(text, 100, "%s-%d-%.2f", "abc", 42, 2.5);
            long value = strtol(text + 4, NULL, 10);
            free(text);
            return value * 100 + length;
        }
        """,
        4211,
    ),
    "own-data": (
        """
        static long counter = 500, zero[4096];
        long exported = 3;
        long replacement(void) {
            long sum = 0;
            counter++;
            zero[4095] = zero[0] = 7;
            for (int i = 0; i < 4096; i++) sum += zero[i];
            if (counter > 900) counter = 901;
            return (counter > 500) * 1000 + sum + exported;
        }
        """,
        1017,
    ),
    "read-only": (
        """
        static const long table[] = {1, 10, 100, 1000};
        static const char *const words[] = {"one", "three", "fifteen", "x"};
        long replacement(void) {
            volatile unsigned n = 2;
            return table[n] + words[n][3] - 't' + (words[n + 1][0] == 'x');
        }
        """,
        101,
    ),
    "function-table": (
        """
        static long one(long x) { return x + 1; }
        static long two(long x) { return x * 2; }
        static long (*const const_table[])(long) = {one, two};
        static long (*volatile table[])(long) = {two, one, two};
        long replacement(void) {
            long value = 5;
            for (volatile int i = 0; i < 3; i++) value = table[i](value);
            volatile int n = 1;
            return const_table[n](value);
        }
        """,
        44,
    ),
    "switch": (
        """
        long replacement(void) {
            volatile int n = 4;
            switch (n) {
            case 0: return 3; case 1: return 19; case 2: return 41;
            case 3: return 7; case 4: return 83; case 5: return 9;
            }
            return 0;
        }
        """,
        83,
    ),
    "library-symbol": (
        "extern long read_secret(void);\nlong replacement(void) { return read_secret() >= 41; }",
        1,
    ),
    "weak-absent": (
        "extern long nowhere(void) __attribute__((weak));\n"
        "long replacement(void) { return nowhere ? 1 : 61; }",
        61,
    ),
    "environment": (
        "#include <stdlib.h>\n#include <string.h>\nextern char **environ;\n"
        'long replacement(void) { return environ[0] != 0 && getenv("BOARD") ? 62 : 0; }',
        62,
    ),
    "vdso": (
        "#include <time.h>\nlong replacement(void) { struct timespec t; "
        "return clock_gettime(CLOCK_MONOTONIC, &t) == 0 && time(0) > 1000000 ? 63 : 0; }",
        63,
    ),
    "floating": (
        "#include <stdio.h>\nlong replacement(void) { volatile double x = 2.5; char t[400]; "
        'return snprintf(t, sizeof t, "%f%f%f%f", x, x, x, x) + (long)(x * 2); }',
        37,
    ),
    "stack-protector": (
        "#include <string.h>\n#pragma GCC optimize(\"stack-protector-all\")\nlong replacement(void) "
        '{ char t[32]; strcpy(t, "guarded"); return (long)strlen(t); }',
        7,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FEATURES)
def test_new_code_may_use(name: str) -> None:
    source, expected = FEATURES[name]
    with running(features_caller()) as target:
        assert target.answers(7)[FEATURE] == 1
        container = change(target, source)
        assert target.answers(7)[FEATURE] == expected
        assert trigger(target, "--revert", container).verdict == REVERTED
        assert target.answers(7)[FEATURE] == 1


def test_own_data_is_kept_when_applied_again() -> None:
    """As with a library that is never unloaded: a call may still be in its code and rely on what it wrote."""
    source = "static long counter = 500;\nlong replacement(void) { return ++counter; }"
    with running(features_caller(), "nap=20000") as target:
        container = change(target, source)
        target.until(lambda: target.answers(7)[FEATURE] > 530, "the counter")
        assert trigger(target, "--revert", container).verdict == REVERTED
        target.answers()
        change(target, source)
        assert target.answers(7)[FEATURE] > 530


def test_ten_functions_change_together() -> None:
    with running(caller(answers_library())) as target:
        said = trigger(target, ten_functions(200))
        assert said.verdict == SUCCESS
        assert set(said.row["functions"]) == {f"answer_{n}" for n in range(10)}
        assert target.answers(10) == NEW


REFUSED_CALLS = ["answer_0", "neighbour", "branches_back", "entered_from_afar", "enters", "five_bytes"]


def refused_library() -> Path:
    """The library of functions that no detour may be put on."""
    return compiled(
        "refused.c", "-fPIC", "-shared", "-Wl,-soname,librefused.so.1,--build-id", name="librefused.so.1"
    )


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        ("too_short", "function-too-short"),
        ("branches_back", "function-not-patchable"),
        ("entered_from_afar", "function-not-patchable"),
        ("with_breakpoint", "function-not-patchable"),
    ],
)
def test_function_that_cannot_be_diverted(function: str, reason: str) -> None:
    """The whole container is refused: the other function, which could be diverted, stays as well."""
    source = "long other(void) { return 201; }\nlong replacement(void) { return 202; }"
    container = live_patch(
        refused_library(),
        source,
        {"answer_0": "other", function: "replacement"},
        name=f"refused-{function}.so",
    )
    with running(caller(refused_library(), calls=REFUSED_CALLS, name="refused-caller")) as target:
        before, answers = target.private_code(), target.answers(6)
        assert answers == (100, 301, 302, 303, 303, 44)
        said = trigger(target, container)
        assert said.verdict == ("ERROR", reason), said
        assert function in said.row["detail"]
        assert said.status != 0
        assert target.answers(6) == answers
        assert target.private_code() == before


def test_function_with_just_enough_room() -> None:
    source = "long replacement(void) { return 202; }"
    container = live_patch(refused_library(), source, {"five_bytes": "replacement"}, name="five.so")
    with running(caller(refused_library(), calls=REFUSED_CALLS, name="refused-caller")) as target:
        assert trigger(target, container).verdict == SUCCESS
        assert target.answers(6) == (100, 301, 302, 303, 303, 202)
        assert trigger(target, "--revert", container).verdict == REVERTED
        assert target.answers(6) == (100, 301, 302, 303, 303, 44)


UNSUPPORTED = {
    "own-thread-local": (
        "static __thread long mine = 5;\nlong replacement(void) { return ++mine; }",
        "unsupported-container",
        "thread-local",
    ),
    "constructor": (
        "static long ready;\n__attribute__((constructor)) static void start(void) { ready = 1; }\n"
        "long replacement(void) { return ready; }",
        "unsupported-container",
        "constructor",
    ),
    "destructor": (
        "static long ready;\n__attribute__((destructor)) static void stop(void) { ready = 1; }\n"
        "long replacement(void) { return ready; }",
        "unsupported-container",
        "destructor",
    ),
    "own-ifunc": (
        "static long one(void) { return 1; }\nstatic long (*resolve(void))(void) { return one; }\n"
        'static long chosen(void) __attribute__((ifunc("resolve")));\n'
        "long replacement(void) { return chosen(); }",
        "unsupported-container",
        "",
    ),
    "missing-symbol": (
        "extern long nowhere_to_be_found(void);\nlong replacement(void) { return nowhere_to_be_found(); }",
        "unresolved-symbol",
        "nowhere_to_be_found",
    ),
    "missing-variable": (
        "extern long nowhere_to_be_found;\nlong replacement(void) { return nowhere_to_be_found; }",
        "unresolved-symbol",
        "nowhere_to_be_found",
    ),
}


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_container_that_needs_what_cannot_be_done(name: str) -> None:
    source, reason, word = UNSUPPORTED[name]
    container = live_patch(
        features_library(), source, {"feature": "replacement"}, name=f"{name}.so", flags=["-Wl,-z,undefs"]
    )
    with running(features_caller()) as target:
        code = target.private_code()
        said = trigger(target, container)
        assert said.verdict == ("ERROR", reason), said
        assert word in said.row["detail"]
        assert said.status != 0
        assert target.answers(7)[FEATURE] == 1
        assert target.private_code() == code


def test_container_with_damaged_tables() -> None:
    container = live_patch(
        features_library(), "long replacement(void) { return 3; }", {"feature": "replacement"}
    )
    damaged = container.with_name("damaged.so")
    entry_size = struct.pack("<QQ", 9, 24)  # DT_RELAENT
    damaged.write_bytes(container.read_bytes().replace(entry_size, struct.pack("<QQ", 9, 25)))
    with running(features_caller()) as target:
        said = trigger(target, damaged)
        assert said.verdict == ("ERROR", "unsupported-container") and said.status == 1, said
        assert said.row["detail"].startswith("the container is damaged: a relocation table")


def test_another_version_of_a_symbol_is_not_taken() -> None:
    """A container built against a library that has symbol versions which the process's one lacks."""
    script = "VERSION_9 { global: helper; local: *; };\n"
    map_file = compiled("long unused;\n", "-c", name="unused.o").with_name("versions.map")
    map_file.write_text(script)
    versioned = compiled(
        "long helper(void) { return 1; }\n", "-fPIC", "-shared",
        f"-Wl,-soname,libhelper.so.1,--version-script={map_file}", name="libhelper.so.1",
    )  # fmt: skip
    container = live_patch(
        features_library(),
        "extern long helper(void);\nlong replacement(void) { return helper(); }",
        {"feature": "replacement"},
        name="versioned.so",
        flags=[str(versioned)],
    )
    with running(features_caller()) as target:
        said = trigger(target, container)
        assert said.verdict == ("ERROR", "unresolved-symbol"), said
        assert "helper" in said.row["detail"]
        assert target.answers(7)[FEATURE] == 1


CPP_LIBRARY = """
#include <stdexcept>
__attribute__((noipa)) long thrower(void) { throw std::runtime_error("old"); }
extern "C" long feature(void);
extern "C" __attribute__((noipa)) long feature(void) { return 1; }
extern "C" long caught(void);
extern "C" __attribute__((noipa)) long caught(void) {
    try { return feature(); } catch (const std::exception &) { return 77; }
}
"""
THROWING = {
    "throws itself": (
        '#include <stdexcept>\nextern "C" long replacement(void) { throw std::runtime_error("new"); }',
        [],
    ),
    "calls": ('long thrower(void);\nextern "C" long replacement(void) { return thrower() + 1; }', []),
    "calls a private one": (
        'extern "C" { long (*private_one)(void);\nlong replacement(void) { return private_one() + 1; } }',
        ["_Z7throwerv:private_one"],
    ),
}


@pytest.mark.parametrize("way", THROWING)
def test_exceptions_through_new_code_work_or_are_refused(way: str) -> None:
    """The worst would be a process that ends in std::terminate because of a live patch."""
    library = compiled(
        CPP_LIBRARY,
        "-fPIC",
        "-shared",
        "-Wl,-soname,libcpp.so.1,--build-id",
        name="libcpp.so.1",
        compiler="g++",
    )
    source, references = THROWING[way]
    code = compiled(source, "-fPIC", "-c", name="replacement.o", compiler="g++")
    container = live_patch(
        library,
        "",
        {"feature": "replacement"},
        references=references,
        name="cpp.so",
        flags=[str(code), "-lstdc++"],
    )
    with running(caller(library, calls=["caught"], name="cpp-caller")) as target:
        assert target.answers() == (1,)
        said = trigger(target, container)
        if said.row["outcome"] == "SUCCESS":
            assert target.answers() == (77,)
        else:
            assert said.verdict == ("ERROR", "unsupported-container"), said
            assert target.answers() == (1,)


def test_container_for_another_build() -> None:
    with running(caller(answers_library())) as target:
        other = answers_library("-DOTHER=2")
        said = trigger(target, ten_functions(200, library=other))
        assert said.verdict == ("SKIPPED", "build-id-mismatch")
        assert target.answers(10) == OLD


def test_apply_twice() -> None:
    with running(caller(answers_library())) as target:
        assert trigger(target, ten_functions(200)).verdict == SUCCESS
        before = target.maps()
        said = trigger(target, ten_functions(200))
        assert said.verdict == ALREADY and said.status == 0
        assert target.maps() == before
        assert target.answers(10) == NEW
