/* SPDX-License-Identifier: GPL-2.0-or-later
 * The library under change: ten functions that each give a number, and one that a thread can be held in. */
#define ANSWER(n) \
    long answer_##n(void); \
    __attribute__((noipa)) long answer_##n(void) { return 100 + n; }
ANSWER(0) ANSWER(1) ANSWER(2) ANSWER(3) ANSWER(4) ANSWER(5) ANSWER(6) ANSWER(7) ANSWER(8) ANSWER(9)

#include <unistd.h>
typedef unsigned long long word;
long held(volatile word *inside, volatile word *hold);
#ifdef COLD
/* the call is in held.cold, which gcc puts elsewhere */
static __attribute__((noipa, cold)) void wait_inside(volatile word *inside, volatile word *hold) {
    __atomic_fetch_add(inside, 1, __ATOMIC_SEQ_CST);
    while (*hold) usleep(1000);
    __atomic_fetch_sub(inside, 1, __ATOMIC_SEQ_CST);
}
long held(volatile word *inside, volatile word *hold) {
    if (*hold) {
        wait_inside(inside, hold);
        return 110;
    }
    return 0;
}
#else
long held(volatile word *inside, volatile word *hold) {
    __atomic_fetch_add(inside, 1, __ATOMIC_SEQ_CST);
    while (*hold) usleep(1000);
    __atomic_fetch_sub(inside, 1, __ATOMIC_SEQ_CST);
    return 110;
}
#endif

/* The same for a coroutine: it yields instead of sleeping. */
long held_by(void (*yield)(void), volatile word *inside, volatile word *hold);
long held_by(void (*yield)(void), volatile word *inside, volatile word *hold) {
    __atomic_fetch_add(inside, 1, __ATOMIC_SEQ_CST);
    while (*hold) yield();
    __atomic_fetch_sub(inside, 1, __ATOMIC_SEQ_CST);
    return 120;
}

/* what makes a build differ from another one of the same functions */
#ifndef SESSION
#define SESSION 0
#endif
#ifndef OTHER
#define OTHER 0
#endif
const char build[] = {SESSION & 255, SESSION >> 8 & 255, SESSION >> 16 & 255, OTHER};
