/* SPDX-License-Identifier: GPL-2.0-or-later
 * A library whose private parts a live patch needs: variables, functions, thread-local variables. */
#include <errno.h>

static long secret = 41;
static __thread long local = 7;
__thread long shared_local __attribute__((visibility("default"))) = 9;

static __attribute__((noinline, noclone)) long private_sum(long a, long b) {
    __asm__ volatile("" : "+r"(a), "+r"(b));
    return a + b;
}

#define FUNCTION(name, ...) \
    long name(void); \
    __attribute__((noinline)) long name(void) { __VA_ARGS__ }

FUNCTION(bump, return ++secret;)
FUNCTION(read_secret, __asm__ volatile("" : "+m"(secret)); return secret;)
FUNCTION(use_private, return private_sum(1, 2);)
FUNCTION(read_local, __asm__ volatile("" : "+m"(local)); return local;)
FUNCTION(set_local, local = 70; return local;)
FUNCTION(read_shared_local, __asm__ volatile("" : "+m"(shared_local)); return shared_local;)
FUNCTION(feature, errno = 0; return private_sum(0, 1);)
