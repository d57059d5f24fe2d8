/* SPDX-License-Identifier: GPL-2.0-or-later
 * Writes over its own copy of a library's symbol table: f_1 to f_599 lead to f_0, as far as their symbols do not lie in
 * the library's first page. Tells in CHECKS how many that are.
 */
#include "board.h"
#include <dlfcn.h>
#include <elf.h>

extern long f_0(void);

int main(int count, char **words) {
    board_open(count, words);
    for (int i = 1; i < 600; i++) {
        char name[20];
        Dl_info about;
        Elf64_Sym *symbol;
        sprintf(name, "f_%d", i);
        if (!dladdr1(dlsym(RTLD_DEFAULT, name), &about, (void **)&symbol, RTLD_DL_SYMENT)) die("dladdr1");
        uintptr_t page = (uintptr_t)symbol & -4096;
        if (page == (uintptr_t)about.dli_fbase) continue;
        if (mprotect((void *)page, 4096, PROT_READ | PROT_WRITE)) die("mprotect");
        symbol->st_value = (char *)f_0 - (char *)about.dli_fbase;
        ADD(CHECKS, 1);
    }
    board_ready();
    for (;;) {
        SET(ANSWERS, f_0());
        nap(1000);
    }
}
