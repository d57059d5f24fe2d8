/* SPDX-License-Identifier: GPL-2.0-or-later
 * Maps a library and writes over its own copy of that library's first page.
 *   magic   the ELF magic; otherwise the first byte of the build-id
 */
#include "board.h"

extern long answer_0(void);

/* Where the object that holds a function begins: the board's maps would do, but dladdr() asks nobody. */
#include <dlfcn.h>

int main(int count, char **words) {
    board_open(count, words);
    Dl_info about;
    if (!dladdr((void *)answer_0, &about)) die("dladdr");
    unsigned char *page = about.dli_fbase;
    if (mprotect(page, 4096, PROT_READ | PROT_WRITE)) die("mprotect");
    if (is_given("magic")) {
        page[0] ^= 0xff;
    } else {
        unsigned char *note = page;
        while (memcmp(note, "\x03\0\0\0GNU", 8)) note++; /* NT_GNU_BUILD_ID and its owner */
        note[8] ^= 0xff;
    }
    if (mprotect(page, 4096, PROT_READ)) die("mprotect");
    board_ready();
    for (;;) nap(3600 * 1000000L);
}
