/* SPDX-License-Identifier: GPL-2.0-or-later
 * A hand on another process, for tests of the tests and of refusals.
 *   hold PID             trace it, say "held", stay until standard input ends
 *   again PID            trace it, stop it, let it go, again and again until standard input ends
 *   register TID N       add 1 to the N-th word of user_regs_struct at a stop
 *   vector TID OFFSET    flip a byte of the extended state
 *   memory TID OFFSET    flip a byte at its stack pointer plus OFFSET
 */
#define _GNU_SOURCE
#include <elf.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

static void must(long result, const char *what) {
    if (result < 0) { perror(what); exit(1); }
}

static int again(pid_t thread) {
    struct pollfd input = {.fd = 0, .events = POLLIN};
    puts("held");
    fflush(stdout);
    while (poll(&input, 1, 0) == 0) {
        if (ptrace(PTRACE_SEIZE, thread, 0, 0) == 0) {
            must(ptrace(PTRACE_INTERRUPT, thread, 0, 0), "interrupt");
            must(waitpid(thread, NULL, __WALL), "wait");
            must(ptrace(PTRACE_DETACH, thread, 0, 0), "detach");
        }
        usleep(200);
    }
    return 0;
}

int main(int count, char **words) {
    if (count < 3) return 64;
    pid_t thread = atoi(words[2]);
    long place = count > 3 ? atol(words[3]) : 0;
    if (!strcmp(words[1], "again"))
        return again(thread);
    must(ptrace(PTRACE_SEIZE, thread, 0, 0), "seize");
    if (!strcmp(words[1], "hold")) {
        char c;
        puts("held");
        fflush(stdout);
        return read(0, &c, 1) > 0;
    }
    struct user_regs_struct registers;
    struct iovec general = {&registers, sizeof registers};
    must(ptrace(PTRACE_INTERRUPT, thread, 0, 0), "interrupt");
    must(waitpid(thread, NULL, __WALL), "wait");
    must(ptrace(PTRACE_GETREGSET, thread, NT_PRSTATUS, &general), "registers");
    if (!strcmp(words[1], "register")) {
        ((unsigned long *)&registers)[place]++;
        must(ptrace(PTRACE_SETREGSET, thread, NT_PRSTATUS, &general), "set registers");
    } else if (!strcmp(words[1], "vector")) {
        static unsigned char state[65536];
        struct iovec extended = {state, sizeof state};
        must(ptrace(PTRACE_GETREGSET, thread, NT_X86_XSTATE, &extended), "vector");
        state[place] ^= 0x40;
        must(ptrace(PTRACE_SETREGSET, thread, NT_X86_XSTATE, &extended), "set vector");
    } else {
        unsigned long address = registers.rsp + (unsigned long)place;
        long value = ptrace(PTRACE_PEEKDATA, thread, address, 0);
        must(ptrace(PTRACE_POKEDATA, thread, address, value ^ 0x40), "memory");
    }
    must(ptrace(PTRACE_DETACH, thread, 0, 0), "detach");
    return 0;
}
