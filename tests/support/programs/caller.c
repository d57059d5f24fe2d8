/* SPDX-License-Identifier: GPL-2.0-or-later
 * Calls each function of CALLS in a loop and puts what they answer on the board.
 *   nap=N         microseconds of sleep after each round (0: none, no system call at all)
 *   sleepers=N    threads that do nothing else than sleep
 *   main-exits    the main thread leaves, another one goes on
 *   twin          when STAGE becomes 5 it forks a child that goes on as well, with the second half of the board
 *   busy          a thread that is inside held() as long as HOLD is set (needs WITH_HELD)
 *   WITH_OPEN     the functions are looked up in the library of that path, opened RTLD_LOCAL; when STAGE becomes 7,
 *                 that is closed, when it becomes 8, opened again
 *   SECOND        path of another copy of it, whose answer_0 is called as well; with the word late, a copy in a
 *                 namespace of its own, from when STAGE becomes 9 on
 */
#include "board.h"
#ifdef WITH_OPEN
#include <dlfcn.h>
#endif

#ifdef WITH_OPEN
#define CALL(name) static long (*name)(void);
#else
#define CALL(name) extern long name(void);
#endif
CALLS
#undef CALL
#ifdef SECOND
static long (*second)(void);
#endif

#ifdef WITH_HELD
extern long held(volatile uint64_t *inside, volatile uint64_t *hold);
/* Overwrites what calls have left below the stack pointer. glibc 2.41's nanosleep() does not write all of its frame: a
 * return address of held() would be in it for ever, and strict consistency, which does not unwind, would count it. */
__attribute__((noinline)) static void scrub(void) {
    char dead[4096];
    memset(dead, 0, sizeof dead);
    __asm__ volatile("" : : "r"(dead) : "memory");
}
static void *hold(void *unused) {
    for (;;) {
        if (GET(HOLD)) {
            long answer = held(&board[INSIDE], &board[HOLD]);
            scrub();
            SET(STAGE, answer);
        }
        nap(1000);
    }
    return unused;
}
#endif

#ifdef WITH_OPEN
static void *library;
static void open_library(void) {
    library = dlopen(WITH_OPEN, RTLD_NOW | RTLD_LOCAL);
    if (!library) { fputs(dlerror(), stderr); _exit(97); }
#define CALL(name) name = (long (*)(void))dlsym(library, #name);
    CALLS
#undef CALL
}
static void close_library(void) {
    if (dlclose(library)) die("dlclose");
    SET(STAGE, 0);
    while (GET(STAGE) != 8) nap(1000);
    open_library();
    SET(STAGE, 0);
}
#endif

static void *sleeper(void *unused) {
    for (;;) nap(3600 * 1000000L);
    return unused;
}

static void *loop(void *unused) {
    long pause = option("nap", 500);
    if (is_given("main-exits")) nap(20000);
    board_ready();
    for (;;) {
        int n = ANSWERS;
#define CALL(name) SET(n, name()), n++;
        CALLS
#undef CALL
#ifdef SECOND
        if (GET(STAGE) == 9) {
            second = (long (*)(void))dlsym(dlmopen(LM_ID_NEWLM, SECOND, RTLD_NOW), "answer_0");
            SET(STAGE, 0);
        }
        if (second) SET(n, second());
#endif
        ADD(ROUNDS, 1);
        if (pause) nap(pause);
#ifdef WITH_OPEN
        if (GET(STAGE) == 7) close_library();
#endif
        if (is_given("twin") && GET(STAGE) == 5) {
            SET(STAGE, 6);
            if (!fork()) board += WORDS / 2, board_ready();
        }
    }
    return unused;
}

int main(int count, char **words) {
    pthread_t thread;
    board_open(count, words);
#ifdef WITH_OPEN
    open_library();
#ifdef SECOND
    if (!is_given("late")) second = (long (*)(void))dlsym(dlopen(SECOND, RTLD_NOW | RTLD_LOCAL), "answer_0");
#endif
#endif
    for (long i = option("sleepers", 0); i > 0; i--) {
        pthread_attr_t small;
        pthread_attr_init(&small);
        pthread_attr_setstacksize(&small, 65536);
        if (pthread_create(&thread, &small, sleeper, NULL)) die("thread");
    }
#ifdef WITH_HELD
    if (is_given("busy") && pthread_create(&thread, NULL, hold, NULL)) die("thread");
#endif
    if (is_given("main-exits")) {
        if (pthread_create(&thread, NULL, loop, NULL)) die("thread");
        pthread_exit(NULL);
    }
    loop(NULL);
}
