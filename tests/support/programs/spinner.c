/* SPDX-License-Identifier: GPL-2.0-or-later
 * One thread reads the clock all the time and keeps the largest gap; others sleep. STAGE set to 1 by the test starts
 * a new measurement: the program sets it to 2 and GAP to 0. It stops after an hour at the latest with its parent. */
#include "board.h"

static void *sleeper(void *unused) {
    for (;;) nap(3600 * 1000000L);
    return unused;
}

int main(int count, char **words) {
    pthread_t thread;
    board_open(count, words);
    for (long i = option("sleepers", 0); i > 0; i--) {
        pthread_attr_t small;
        pthread_attr_init(&small);
        pthread_attr_setstacksize(&small, 65536);
        if (pthread_create(&thread, &small, sleeper, NULL)) die("thread");
    }
    board_ready();
    for (;;) {
        while (GET(STAGE) != 1) { /* idle between measurements */
            extern long answer_0(void);
            SET(ANSWERS, answer_0());
            ADD(ROUNDS, 1);
            nap(500);
        }
        SET(GAP, 0);
        SET(STAGE, 2);
        for (uint64_t before = now(); GET(STAGE) == 2;) {
            uint64_t after = now();
            if (after - before > GET(GAP)) SET(GAP, after - before);
            before = after;
        }
    }
}
