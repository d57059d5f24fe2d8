/* SPDX-License-Identifier: GPL-2.0-or-later
 * Stands in for libpulp.so.0 on machines without it: a small implementation of its interface, made after its documented
 * formats (ulp/engines/pulp/abi.py names the sources). It applies and reverts live patches as libpulp does, asks for the
 * writes through its instruction queue, and answers EAGAIN now and then, as libpulp does while memory is allocated.
 * With OLD it is like 0.3.0: no version, no times, no padding in the queue, and a detour takes two writes.
 * With STRANGE it asks for writes that no libpulp asks for.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { UNKNOWN = 256, NOT_APPLIED = 272, APPLIED_ALREADY = 275, QUEUE_LEFT = 285, NO_LOAD = 287, WRITE = 2, PAD = 14 };

struct unit { void *old, *new; char overwritten[14], jump; struct unit *next; };
struct patch {
    unsigned char id[32];
    char *library, *container;
    struct unit *units;
    struct patch *next;
    void *dependencies;
#ifndef OLD
    uint64_t time;
#endif
};
struct detour { unsigned char id[32]; char *entry, *new; int active; struct detour *next; };

__asm__(".text\n"
    ".macro stub name, function\n"
    ".global \\name\n.type \\name, @function\n"
    "\\name: nop\nnop\ncall \\function\nint3\n.size \\name, . - \\name\n"
    ".endm\n"
    "stub __ulp_trigger, trigger\n"
    "stub __ulp_revert_all, nothing\n"
    "stub __ulp_check_patched, nothing\n"
    "stub __ulp_get_global_universe, nothing\n"
    "stub __ulp_enable_or_disable_patching, nothing\n");

#ifndef OLD
const char __ulp_version[] = "0.3.17";
#endif
int __ulp_error_state;
char __ulp_metadata_buffer[512 * 1024];
struct { char loaded; struct patch *newest; } __ulp_state;
struct { char ring[2 * 1024 * 1024]; int top, bottom, distance; } __ulp_msg_queue;
struct {
    int version, count, size;
#ifndef OLD
    int padding;
#endif
    char buffer[2 * 1024 * 1024];
} __ulp_insn_queue = {.version = 1};

static struct detour *detours;
static struct { unsigned char id[32]; } *current; /* what is being applied */
static const char *at; /* where the metadata is read */

__attribute__((constructor)) static void set_up(void) { __ulp_state.loaded = 1; }

__attribute__((used)) static int nothing(void) { return 0; }

static uint32_t number(void) {
    uint32_t value;
    memcpy(&value, at, 4);
    at += 4;
    return value;
}

static const char *text(void) {
    uint32_t size = number();
    at += size;
    return at - size;
}

static void ask(char *address, const void *bytes, uint32_t size) {
#ifdef STRANGE
    bytes = "strange code, longer than it is ever asked for";
#endif
    uint32_t whole = (16 + size + 7) & ~7u, head = WRITE | whole << 8;
    char *to = __ulp_insn_queue.buffer + __ulp_insn_queue.size;
    memcpy(to, &head, 4);
    memcpy(to + 4, &size, 4);
    memcpy(to + 8, &address, 8);
    memcpy(to + 16, bytes, size);
    __ulp_insn_queue.size += whole;
    __ulp_insn_queue.count++;
}

static void divert(char *entry, char *new) {
    char code[20] = "\xff\x25\0\0\0\0________\xeb\xf0";
    int marked = !memcmp(entry, "\xf3\x0f\x1e\xfa", 4);
    if (new == NULL) {
        ask(entry + 4 * marked, "\x66\x90", 2);
        return;
    }
    if (marked) memcpy(code + PAD, "\xf3\x0f\x1e\xfa\xeb\xec", 6);
#ifndef OLD
    memcpy(code + 6, &new, 8);
#endif
    ask(entry - PAD, code, marked ? PAD + 6 : PAD + 2);
#ifdef OLD
    ask(entry - PAD + 6, &new, 8);
#endif
}

struct search { const char *name; char *base; };

static int look(struct dl_phdr_info *object, size_t size, void *wanted) {
    struct search *search = wanted;
    (void)size;
    if (!strstr(object->dlpi_name, search->name)) return 0;
    search->base = (char *)object->dlpi_addr;
    return 1;
}

static int apply(const unsigned char *id, const char *path) {
    struct search search = {0};
    number();
    at += 20;
    search.name = text();
    dl_iterate_phdr(look, &search);
    current = malloc(sizeof *current);
    memcpy(current->id, id, 32);
    void *container = dlopen(path, RTLD_NOW);
    free(current);
    current = NULL;
    if (!container) return NO_LOAD;
    struct patch *patch = calloc(1, sizeof *patch);
    memcpy(patch->id, id, 32);
    patch->library = strdup(search.name);
    patch->container = strdup(path);
#ifndef OLD
    patch->time = (uint64_t)time(NULL);
#endif
    struct unit **last = &patch->units;
    for (uint32_t left = number(); left; left--) {
        struct unit *unit = *last = calloc(1, sizeof *unit);
        struct detour *detour = calloc(1, sizeof *detour);
        uint64_t offset;
        text();
        const char *name = text();
        memcpy(&offset, at, 8);
        at += 8;
        unit->old = search.base + offset;
        unit->new = dlsym(container, name);
        *detour = (struct detour){.entry = unit->old, .new = unit->new, .active = 1, .next = detours};
        memcpy(detour->id, id, 32);
        detours = detour;
        divert(unit->old, unit->new);
        last = &unit->next;
    }
    patch->next = __ulp_state.newest;
    __ulp_state.newest = patch;
    return 0;
}

static int revert(const unsigned char *id) {
    struct patch **link = &__ulp_state.newest;
    while (*link && memcmp((*link)->id, id, 32)) link = &(*link)->next;
    if (!*link) return NOT_APPLIED;
    *link = (*link)->next;
    for (struct detour *each = detours; each; each = each->next) {
        if (!each->active || memcmp(each->id, id, 32)) continue;
        each->active = 0;
        struct detour *below = detours;
        while (below && !(below->active && below->entry == each->entry)) below = below->next;
        divert(each->entry, below ? below->new : NULL);
    }
    return 0;
}

__attribute__((used)) static int trigger(void) {
    static unsigned calls;
    if (__ulp_error_state) return __ulp_error_state;
    if (__ulp_insn_queue.count || __ulp_insn_queue.size) return __ulp_error_state = QUEUE_LEFT;
    if (current) return UNKNOWN;
    if (++calls % 5 == 3) return EAGAIN;
    at = __ulp_metadata_buffer;
    int type = *at++;
    const unsigned char *id = (const unsigned char *)at;
    at += 32;
    const char *path = text();
    int result = APPLIED_ALREADY;
    struct patch *found = __ulp_state.newest;
    while (found && memcmp(found->id, id, 32)) found = found->next;
    if (type == 2)
        result = revert(id);
    else if (!found)
        result = apply(id, path);
    memset(__ulp_metadata_buffer, 0, sizeof __ulp_metadata_buffer);
    return result;
}
