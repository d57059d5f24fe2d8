// SPDX-License-Identifier: GPL-2.0-or-later
// One kernel live patch; macros say what it replaces (tests/support/machine/modules.py).
#include <linux/kernel.h>
#include <linux/livepatch.h>
#include <linux/module.h>
#include <linux/ptrace.h>
#include <linux/sched/signal.h>
#include <linux/seq_file.h>

#ifdef COMMAND_LINE // what /proc/cmdline says
static int live_cmdline_proc_show(struct seq_file *file, void *unused)
{
	seq_puts(file, COMMAND_LINE "\n");
	return 0;
}
#endif

#ifdef VFORK // a task that waits for its child is inside of the old function, and only that child's end lets it out
static long live_vfork(const struct pt_regs *registers)
{
	return -EDOM;
}
#endif

#ifdef PAUSE // pause(2) ends at any signal, the one that the kernel pretends to send included
static long live_pause(const struct pt_regs *registers)
{
	return -EDOM;
}
#endif

#ifdef STAY // a task inside of the new function, which nothing but its death lets out
static long live_pause(const struct pt_regs *registers)
{
	while (!fatal_signal_pending(current))
		schedule_timeout_killable(MAX_SCHEDULE_TIMEOUT);
	return -EINTR;
}
#endif

static struct klp_func in_vmlinux[] = {
#ifdef COMMAND_LINE
	{ .old_name = "cmdline_proc_show", .new_func = live_cmdline_proc_show },
#endif
#ifdef VFORK
	{ .old_name = "__x64_sys_vfork", .new_func = live_vfork },
#endif
#if defined(PAUSE) || defined(STAY)
	{ .old_name = "__x64_sys_pause", .new_func = live_pause },
#endif
	{}
};

#ifdef ABSENT // the name of a kernel module that is not loaded
static int live_absent(void)
{
	return 0;
}

static struct klp_func in_absent[] = {
	{ .old_name = "absent_function", .new_func = live_absent, .old_sympos = 2 },
	{}
};
#endif

static struct klp_object objects[] = {
	{ .funcs = in_vmlinux },
#ifdef ABSENT
	{ .name = ABSENT, .funcs = in_absent },
#endif
	{}
};

static struct klp_patch live_patch = {
	.mod = THIS_MODULE,
	.objs = objects,
	.replace = REPLACE,
};

static int __init enable(void)
{
	return klp_enable_patch(&live_patch);
}

static void __exit leave(void)
{
}

module_init(enable);
module_exit(leave);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("A live patch of a test");
MODULE_INFO(livepatch, "Y");
