/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What every target program shares: a board of 64-bit words that the test maps as well, so that a test can read what a
 * process does without a system call, a signal or a thread of the process being involved; options (name=number words
 * of the command line); and conditions under which it shall live (words of the command line as well).
 */
#ifndef BOARD_H
#define BOARD_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* The same as class Slot in targets.py. */
enum slot {
    READY, ROUNDS, ERRORS, INTERRUPTED, GAP, HANDLED, SENT, HOLD, INSIDE, STAGE, THREAD, WIDTH, CHECKS, VECTORS, SWAPS, DETAIL,
    ANSWERS = 32, WAITS = 64, WORDS = 512
};

static volatile uint64_t *board;
static int argument_count;
static char **arguments;

#define ADD(slot, amount) __atomic_fetch_add(&board[slot], (amount), __ATOMIC_SEQ_CST)
#define SET(slot, value) __atomic_store_n(&board[slot], (uint64_t)(value), __ATOMIC_SEQ_CST)
#define GET(slot) __atomic_load_n(&board[slot], __ATOMIC_SEQ_CST)

static inline void die(const char *what) {
    perror(what);
    _exit(99);
}

static inline int is_given(const char *word) {
    for (int i = 1; i < argument_count; i++)
        if (!strcmp(arguments[i], word)) return 1;
    return 0;
}

static inline long option(const char *name, long fallback) {
    size_t length = strlen(name);
    for (int i = 1; i < argument_count; i++)
        if (!strncmp(arguments[i], name, length) && arguments[i][length] == '=') return atol(arguments[i] + length + 1);
    return fallback;
}

static inline uint64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static inline void nap(long microseconds) {
    struct timespec t = {microseconds / 1000000, microseconds % 1000000 * 1000};
    nanosleep(&t, NULL);
}

static inline void filter(struct sock_filter *code, unsigned short length) {
    struct sock_fprog program = {length, code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) die("no_new_privs");
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program)) die("seccomp");
}

/* Filter: CALL gives ACTION (with MASK: only if its third argument has one of these bits), all else is allowed. */
static inline void filter_call(uint32_t call, uint32_t mask, uint32_t action) {
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])),
        BPF_JUMP(BPF_JMP | (mask ? BPF_JSET : BPF_JGE) | BPF_K, mask, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, action),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    filter(code, sizeof code / sizeof *code);
}

static inline void board_open(int count, char **words) {
    const char *descriptor = getenv("BOARD");
    argument_count = count;
    arguments = words;
    if (!descriptor) { fputs("BOARD is not set: start this through tests.support.targets\n", stderr); _exit(98); }
    board = mmap(NULL, WORDS * sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED, atoi(descriptor), 0);
    if (board == MAP_FAILED) die("board");
    prctl(PR_SET_PDEATHSIG, SIGKILL);
}

/* mseal(2), which no C library here has: nobody may change the protection of a library's mappings any more. */
static inline void seal(const char *library) {
    char line[512];
    unsigned long start, end;
    FILE *maps = fopen("/proc/self/maps", "re");
    if (!maps) die("maps");
    while (fgets(line, sizeof line, maps))
        if (strstr(line, library) && sscanf(line, "%lx-%lx", &start, &end) == 2 && syscall(462, start, end - start, 0))
            _exit(96);
    fclose(maps);
}

/* The last thing before the main loop: what must not hinder start-up, then the word that the test waits for. */
static inline void board_ready(void) {
    if (is_given("mdwe") && prctl(65 /* PR_SET_MDWE */, 1, 0, 0, 0)) die("mdwe");
    if (is_given("sealed")) seal("libanswers");
    if (is_given("undumpable") && prctl(PR_SET_DUMPABLE, 0)) die("dumpable");
    if (is_given("seccomp-allow")) filter_call(SYS_reboot, 0, SECCOMP_RET_ERRNO | EPERM);
    if (is_given("seccomp-memfd-errno")) filter_call(SYS_memfd_create, 0, SECCOMP_RET_ERRNO | EPERM);
    if (is_given("seccomp-memfd-kill")) filter_call(SYS_memfd_create, 0, SECCOMP_RET_KILL_PROCESS);
    if (is_given("seccomp-exec-kill")) filter_call(SYS_mmap, PROT_EXEC, SECCOMP_RET_KILL_PROCESS);
    if (is_given("seccomp-mmap-trap")) filter_call(SYS_mmap, 0, SECCOMP_RET_TRAP);
    if (is_given("seccomp-mask-kill")) filter_call(SYS_rt_sigprocmask, 0, SECCOMP_RET_KILL_THREAD);
    if (is_given("file-limit") && setrlimit(RLIMIT_NOFILE, &(struct rlimit){0, 0})) die("rlimit");
    if (is_given("memory-limit")) {
        struct rlimit limit;
        long pages = 0;
        FILE *file = fopen("/proc/self/statm", "re");
        if (!file || fscanf(file, "%ld", &pages) != 1) die("statm");
        fclose(file);
        limit.rlim_cur = limit.rlim_max = (rlim_t)pages * 4096 + 4096;
        if (setrlimit(RLIMIT_AS, &limit)) die("rlimit");
    }
    SET(THREAD, syscall(SYS_gettid));
    SET(READY, 1);
    if (is_given("seccomp-strict") && prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT)) die("strict");
}
#endif
