/* SPDX-License-Identifier: GPL-2.0-or-later
 * Children of one thread end all the time (SENT), their SIGCHLD ignored, while others wait for what never comes: waits
 * that ended in CHECKS, those that ended in EINTR in INTERRUPTED.
 *   brood=N   children at a time; life=N: microseconds between their ends; main: the main thread is the parent
 * No child ends while another is born: fork(3) blocks signals, and such a SIGCHLD wakes another thread by itself.
 */
#include "board.h"
#include <sys/epoll.h>
#include <sys/wait.h>

#define WAITERS 8
static long brood, life;

static void *wait_for_nothing(void *unused) {
    struct epoll_event event;
    for (int handle = epoll_create1(0);;) {
        if (epoll_wait(handle, &event, 1, 20) < 0) ADD(INTERRUPTED, 1);
        ADD(CHECKS, 1);
    }
    return unused;
}

static void raise_some(void) {
    for (long i = 0; i < brood; i++) if (!fork()) { nap(life * (brood + i)); _exit(0); }
    while (waitpid(-1, NULL, 0) > 0) ADD(SENT, 1);
}

static void *raise_more(void *unused) {
    for (;;) raise_some();
    return unused;
}

int main(int count, char **words) {
    extern long answer_0(void);
    pthread_t thread;
    board_open(count, words);
    brood = option("brood", 1), life = option("life", 1000);
    for (int i = 0; i < WAITERS; i++) if (pthread_create(&thread, NULL, wait_for_nothing, NULL)) die("thread");
    if (!is_given("main") && pthread_create(&thread, NULL, raise_more, NULL)) die("thread");
    board_ready();
    for (;;) {
        SET(ANSWERS, answer_0());
        ADD(ROUNDS, 1);
        if (is_given("main")) raise_some(); else nap(1000);
    }
}
