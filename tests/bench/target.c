/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The process that the benchmarks patch: target PAGE SLOT THREADS spin|sleep
 *
 * It shares a slot of the file PAGE with the benchmark, so that asking it anything costs no system call in the
 * thread that is measured. SIGUSR1 makes it call the ten functions of the library and note their answers.
 * "spin": one thread reads the clock in a tight loop and notes the largest gap between two readings; all other
 * threads sleep. A new number in "window" starts the noting afresh.
 */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"

struct slot {
    volatile uint64_t largest_gap; /* ns */
    volatile uint64_t readings;
    volatile uint32_t window;      /* written by the benchmark */
    volatile uint32_t window_seen;
    volatile uint32_t ready;
    volatile uint32_t asked;       /* how often the functions were called */
    volatile uint32_t answers[FUNCTIONS];
    uint32_t pad[14];
};
_Static_assert(sizeof(struct slot) == 128, "tests/bench/target.py reads slots of 128 bytes");

static struct slot *slot;

static void answer(int signal_number)
{
    (void)signal_number;
    for (int i = 0; i < FUNCTIONS; i++)
        slot->answers[i] = (uint32_t)bench_functions[i]();
    slot->asked++;
}

static uint64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void *spin(void *unused)
{
    uint64_t largest = 0, readings = 0, last = now();
    (void)unused;
    for (;;) {
        uint64_t t = now();
        if (slot->window != slot->window_seen) {
            largest = readings = 0;
            slot->largest_gap = 0;
            slot->window_seen = slot->window;
            last = now();
            continue;
        }
        if (t - last > largest)
            slot->largest_gap = largest = t - last;
        last = t;
        slot->readings = ++readings;
    }
}

static void *rest(void *unused)
{
    (void)unused;
    for (;;)
        pause();
}

int main(int argc, char **argv)
{
    struct sigaction action = {.sa_handler = answer};
    pthread_attr_t attributes;
    pthread_t thread;
    sigset_t usr1;
    int file, threads, spins;

    if (argc != 5)
        return 64;
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* a killed benchmark leaves nobody behind */
    file = open(argv[1], O_RDWR);
    slot = mmap(NULL, sizeof *slot * (atoi(argv[2]) + 1u), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (slot == MAP_FAILED)
        return 66;
    close(file);
    slot += atoi(argv[2]);
    threads = atoi(argv[3]);
    spins = !strcmp(argv[4], "spin");

    /* Only the main thread answers: the spinning one shall not be disturbed. */
    sigemptyset(&usr1);
    sigaddset(&usr1, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &usr1, NULL);
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 64 * 1024);
    for (int i = 1; i < threads; i++)
        if (pthread_create(&thread, &attributes, spins && i == 1 ? spin : rest, NULL))
            return 71;
    pthread_sigmask(SIG_UNBLOCK, &usr1, NULL);
    sigaction(SIGUSR1, &action, NULL);
    slot->ready = 1;
    if (spins && threads == 1)
        spin(NULL);
    rest(NULL);
}
