/* SPDX-License-Identifier: GPL-2.0-or-later
 * Signals all the time, none may be lost, doubled or seen as EINTR; the library is called from the loop and from the
 * handler, which runs on an alternate stack.
 *   interval=N   microseconds of the SIGALRM timer (0: none); HANDLED counts expirations: handlers and overruns
 *   queue        a thread queues numbered real-time signals to the main thread: SENT and STAGE (seen in order)
 *   spin         the loop makes no system call
 */
#include "board.h"

extern long answer_0(void);
extern long answer_1(void);
static timer_t timer;
static uint64_t expected = 1;

static void alarmed(int number, siginfo_t *info, void *context) {
    (void)number, (void)context;
    ADD(HANDLED, 1 + (info->si_overrun > 0 ? info->si_overrun : 0));
    SET(ANSWERS + 1, answer_1());
}

static void queued(int number, siginfo_t *info, void *context) {
    (void)number, (void)context;
    if ((uint64_t)(uintptr_t)info->si_ptr != expected) ADD(ERRORS, 1);
    expected = (uint64_t)(uintptr_t)info->si_ptr + 1;
    ADD(STAGE, 1);
}

static void *queue(void *main_thread) {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, NULL);
    for (uintptr_t n = 1;; n++) {
        union sigval value = {.sival_ptr = (void *)n};
        while (pthread_sigqueue(*(pthread_t *)main_thread, SIGRTMIN + 1, value)) nap(100);
        SET(SENT, n);
        nap(300);
    }
    return NULL;
}

int main(int count, char **words) {
    static pthread_t self;
    pthread_t thread;
    stack_t alternate = {.ss_size = 65536};
    board_open(count, words);
    self = pthread_self();
    alternate.ss_sp = malloc(alternate.ss_size);
    if (sigaltstack(&alternate, NULL)) die("sigaltstack");
    struct sigaction action = {.sa_sigaction = alarmed, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART};
    sigaction(SIGALRM, &action, NULL);
    action.sa_sigaction = queued;
    sigaction(SIGRTMIN + 1, &action, NULL);
    long interval = option("interval", 1000);
    if (is_given("queue") && pthread_create(&thread, NULL, queue, &self)) die("thread");
    board_ready();
    SET(GAP, now()); /* the start of the timer: HANDLED * interval has to keep pace with the clock */
    if (interval) {
        struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGALRM};
        struct itimerspec every = {{0, interval * 1000}, {0, interval * 1000}};
        if (timer_create(CLOCK_MONOTONIC, &event, &timer) || timer_settime(timer, 0, &every, NULL)) die("timer");
    }
    for (int spin = is_given("spin");;) {
        SET(ANSWERS, answer_0());
        ADD(ROUNDS, 1);
        SET(DETAIL + 1, now());
        if (!spin) nap(500); /* ends early by the signals, that is well */
    }
}
