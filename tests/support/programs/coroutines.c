/* SPDX-License-Identifier: GPL-2.0-or-later
 * Eight coroutines on stacks from malloc, switched by swapcontext. One of them stays inside held() as long as HOLD is
 * set, suspended: no thread's stack pointer is on its stack then. */
#include "board.h"
#include <ucontext.h>

extern long answer_0(void);
extern long held_by(void (*yield)(void), volatile uint64_t *inside, volatile uint64_t *hold);
enum { COUNT = 8, SIZE = 65536 };
static ucontext_t scheduler, contexts[COUNT];
static int current;

static void yield(void) { swapcontext(&contexts[current], &scheduler); }

/* Overwrites what earlier calls have left below: a return address in a dead frame looks like a call that goes on. */
static __attribute__((noipa)) void scrub(void) {
    volatile char dead[4096];
    for (size_t i = 0; i < sizeof dead; i++) dead[i] = 0;
}

static void body(int number) {
    for (uint64_t local = 1;; local++) {
        volatile uint64_t mark[8];
        for (int i = 0; i < 8; i++) mark[i] = local * 8 + (uint64_t)i + (uint64_t)number;
        if (number == 0 && GET(HOLD)) SET(STAGE, held_by(yield, &board[INSIDE], &board[HOLD]));
        else yield();
        scrub();
        for (int i = 0; i < 8; i++)
            if (mark[i] != local * 8 + (uint64_t)i + (uint64_t)number) ADD(ERRORS, 1);
        SET(ANSWERS, answer_0());
    }
}

int main(int count, char **words) {
    board_open(count, words);
    for (int i = 0; i < COUNT; i++) {
        getcontext(&contexts[i]);
        contexts[i].uc_stack.ss_sp = malloc(SIZE);
        contexts[i].uc_stack.ss_size = SIZE;
        makecontext(&contexts[i], (void (*)(void))body, 1, i);
    }
    board_ready();
    for (;;) {
        for (current = 0; current < COUNT; current++) swapcontext(&scheduler, &contexts[current]);
        ADD(ROUNDS, 1);
        nap(200);
    }
}
