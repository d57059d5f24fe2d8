/* SPDX-License-Identifier: GPL-2.0-or-later
 * All at once in one process: register checks, threads that wake each other, waits that must not end in EINTR, a
 * SIGALRM each millisecond, and the ten functions called in the main loop. */
#define main registers_main
#include "registers.c"
#undef main
#define main pingpong_main
#include "pingpong.c"
#undef main
#define main waits_main
#include "waits.c"
#undef main
#define main timers_main
#include "timers.c"
#undef main

#define CALL(n) extern long answer_##n(void);
CALL(0) CALL(1) CALL(2) CALL(3) CALL(4) CALL(5) CALL(6) CALL(7) CALL(8) CALL(9)
#undef CALL

static void start(void *(*body)(void *), uintptr_t number) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, body, (void *)number)) die("thread");
}

int main(int count, char **words) {
    sigset_t alarms;
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGALRM};
    struct itimerspec every = {{0, 1000000}, {0, 1000000}};
    struct sigaction action = {.sa_sigaction = alarmed, .sa_flags = SA_SIGINFO | SA_RESTART};
    board_open(count, words);
    milliseconds = 20;
    timeout.tv_nsec = milliseconds * 1000000;
    tick.tv_usec = milliseconds * 1000;
    if (pipe(there) || pipe(back)) die("pipe");
    sigaction(SIGALRM, &action, NULL);
    sigemptyset(&alarms); /* the waiting threads get none, so that none of their waits may end in EINTR */
    sigaddset(&alarms, SIGALRM);
    sigaddset(&alarms, SIGUSR2);
    pthread_sigmask(SIG_BLOCK, &alarms, NULL);
    for (size_t i = 0; i < COUNT; i++)
        if (strcmp(ways[i].name, "semtimedop") && ways[i].wait != wait_child) {
            handles[i] = ways[i].open();
            if (i % 2 == 0 || i == 3) start(waiter, i);
        }
    for (uintptr_t i = 0; i < 2; i++) start(futex_player, i), start(pipe_player, i);
    pthread_sigmask(SIG_UNBLOCK, &alarms, NULL);
    start(integer, 0);
    start(integer, 0);
    start(vector, 0);
    if (timer_create(CLOCK_MONOTONIC, &event, &timer) || timer_settime(timer, 0, &every, NULL)) die("timer");
    board_ready();
    for (;;) {
#define CALL(n) SET(ANSWERS + n, answer_##n());
        CALL(0) CALL(1) CALL(2) CALL(3) CALL(4) CALL(5) CALL(6) CALL(7) CALL(8) CALL(9)
        ADD(ROUNDS, 1);
        nap(300);
    }
}
