/* SPDX-License-Identifier: GPL-2.0-or-later
 * Threads that are born and die all the time, and children that do.
 *   makers=N (threads that start and join eight others in a loop, default 2)
 *   forks    a thread that forks children which call the library and end; spawns: posix_spawn; vforks: a vfork whose
 *            child sleeps for a second before it executes (INSIDE counts those under way), and then half a second
 *   itself   the main thread, too, starts and joins another in a loop, and does nothing else
 *   loads    a thread that opens and closes a library all the time (HANDLED counts)
 * GAP is the longest time in nanoseconds that the main loop stood still.
 */
#include "board.h"
#include <dlfcn.h>
#include <spawn.h>
#include <sys/wait.h>

extern long answer_0(void);
extern char **environ;

static void *short_lived(void *unused) {
    volatile char stack[4096];
    stack[sizeof stack / 2] = 1;
    long answer = answer_0();
    ADD(STAGE, 1);
    return (void *)(answer == (long)GET(ANSWERS) || stack[7] == 3 ? unused : NULL);
}

static void *maker(void *unused) {
    for (;;) {
        pthread_t threads[8];
        for (int i = 0; i < 8; i++)
            if (pthread_create(&threads[i], NULL, short_lived, NULL)) die("thread");
        for (int i = 0; i < 8; i++) pthread_join(threads[i], NULL);
        nap(200);
    }
    return unused;
}

static void reap(pid_t child) {
    int status = -1;
    pid_t ended;
    while ((ended = waitpid(child, &status, 0)) < 0 && errno == EINTR) ADD(INTERRUPTED, 1);
    if (ended != child || status) { ADD(ERRORS, 1); SET(DETAIL, status); SET(DETAIL + 1, ended < 0 ? errno : 0); }
    ADD(SENT, 1);
}

static void *forker(void *unused) {
    for (;;) {
        pid_t child = fork();
        if (!child) { long answer = answer_0(); _exit(answer < 100); }
        reap(child);
        nap(1000);
    }
    return unused;
}

static void *loader(void *unused) {
    for (;;) {
        void *library = dlopen("libutil.so.1", RTLD_NOW);
        if (!library || dlclose(library)) ADD(ERRORS, 1);
        ADD(HANDLED, 1);
    }
    return unused;
}

static char *const command[] = {"/bin/true", NULL};

static void *spawner(void *unused) {
    for (;;) {
        pid_t child = 0;
        int error = posix_spawn(&child, command[0], NULL, NULL, command, environ);
        if (error) { ADD(ERRORS, 1); SET(DETAIL, error); continue; }
        reap(child);
        nap(500);
    }
    return unused;
}

static void *vforker(void *unused) {
    for (;;) {
        pid_t child = vfork();
        if (!child) {
            ADD(INSIDE, 1);
            struct timespec second = {1, 0};
            syscall(SYS_nanosleep, &second, NULL);
            ADD(INSIDE, -1);
            execv(command[0], command);
            _exit(127);
        }
        reap(child);
        nap(500000);
    }
    return unused;
}

int main(int count, char **words) {
    pthread_t thread;
    board_open(count, words);
    for (long i = option("makers", 2); i > 0; i--)
        if (pthread_create(&thread, NULL, maker, NULL)) die("thread");
    if (is_given("loads") && pthread_create(&thread, NULL, loader, NULL)) die("thread");
    if (is_given("forks") && pthread_create(&thread, NULL, forker, NULL)) die("thread");
    if (is_given("spawns") && pthread_create(&thread, NULL, spawner, NULL)) die("thread");
    if (is_given("vforks") && pthread_create(&thread, NULL, vforker, NULL)) die("thread");
    board_ready();
    for (uint64_t before = now(), after;; before = after) {
        after = now();
        if (after - before > GET(GAP)) SET(GAP, after - before);
        SET(ANSWERS, answer_0());
        ADD(ROUNDS, 1);
        if (is_given("itself")) {
            if (pthread_create(&thread, NULL, short_lived, NULL)) die("thread");
            pthread_join(thread, NULL);
        } else {
            nap(500);
        }
    }
}
