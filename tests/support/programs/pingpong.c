/* SPDX-License-Identifier: GPL-2.0-or-later
 * Pairs of threads that hand a number to and fro, one pair through a futex, one through pipes: a wake-up that gets
 * lost stops the count, a number that comes twice or not at all is an error. */
#include "board.h"
#include <linux/futex.h>

static uint32_t ball;
static int there[2], back[2];

static void futex(int operation, uint32_t value) {
    struct timespec ten_seconds = {10, 0};
    long result = syscall(SYS_futex, &ball, operation | FUTEX_PRIVATE_FLAG, value, operation == FUTEX_WAIT ? &ten_seconds : NULL, NULL, 0);
    if (result < 0 && errno == EINTR) ADD(INTERRUPTED, 1);
    if (result < 0 && errno == ETIMEDOUT) ADD(ERRORS, 1);
}

static void *futex_player(void *parity) {
    for (;;) {
        uint32_t seen = __atomic_load_n(&ball, __ATOMIC_SEQ_CST);
        if ((seen & 1) != (uint32_t)(uintptr_t)parity) { futex(FUTEX_WAIT, seen); continue; }
        if (parity) nap(50);
        if (__atomic_fetch_add(&ball, 1, __ATOMIC_SEQ_CST) != seen) ADD(ERRORS, 1);
        ADD(SWAPS, 1);
        futex(FUTEX_WAKE, 1);
    }
    return NULL;
}

static void *pipe_player(void *server) {
    for (uint64_t expected = 1;; expected++) {
        uint64_t number = expected;
        if (!server) {
            if (write(there[1], &number, sizeof number) != sizeof number) ADD(ERRORS, 1);
            nap(50);
        }
        if (read(server ? there[0] : back[0], &number, sizeof number) != sizeof number) {
            if (errno == EINTR) ADD(INTERRUPTED, 1);
            ADD(ERRORS, 1);
        }
        if (number != expected) ADD(ERRORS, 1);
        if (server && write(back[1], &number, sizeof number) != sizeof number) ADD(ERRORS, 1);
        ADD(SENT, 1);
    }
    return NULL;
}

int main(int count, char **words) {
    pthread_t thread;
    board_open(count, words);
    if (pipe(there) || pipe(back)) die("pipe");
    for (uintptr_t i = 0; i < 2; i++) {
        if (pthread_create(&thread, NULL, futex_player, (void *)i)) die("thread");
        if (pthread_create(&thread, NULL, pipe_player, (void *)i)) die("thread");
    }
    board_ready();
    for (;;) {
        extern long answer_0(void);
        SET(ANSWERS, answer_0());
        ADD(ROUNDS, 1);
        nap(1000);
    }
}
