// SPDX-License-Identifier: GPL-2.0-or-later
// Sleeps inside of a system call until it is killed, or makes the call and says how it ended.
//
//   sleeper vfork   in vfork(2): the child never ends by itself
//   sleeper pause   in pause(2)
//   sleeper try vfork|pause   the call alone; pause(2) is given a second. Prints "0" or the error's number
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

static void nothing(int number)
{
	(void)number;
}

int main(int count, char **words)
{
	int trying = count == 3 && !strcmp(words[1], "try");
	int forking = count > 1 && !strcmp(words[count - 1], "vfork");
	long result;

	errno = 0;
	if (forking) {
		pid_t parent = getpid();
		result = vfork();
		if (result == 0) {
			if (trying)
				_exit(0);
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			while (getppid() == parent)
				sleep(3600);
			_exit(0);
		}
	} else {
		struct sigaction action = { .sa_handler = nothing };
		sigaction(SIGALRM, &action, NULL);
		if (trying)
			alarm(1);
		result = pause();
	}
	printf("%d\n", result < 0 ? errno : 0);
	return 0;
}
